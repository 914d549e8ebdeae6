//! A form on its way: its fields first, whole and bounded, then its file.

use std::future::poll_fn;

use bytes::Bytes;

use super::progress::{Pace, Progress};
use super::source::BodyFault;
use crate::clock::Clock;
use crate::http1::ClientBody;
use crate::s3::Malformed;
use crate::s3::form::{Boundary, FileReader, Form, Reader};

/// A form of which nothing has been read yet.
pub struct Arriving {
    client: ClientBody,
    pace: Pace,
    progress: Progress,
    /// Bytes that came.
    came: u64,
}

/// A form whose fields are known, at the first byte of its file.
pub struct Reached {
    /// The fields.
    pub form: Form,
    /// The file's first bytes, or what follows them if it is short.
    pub first: Bytes,
    /// Takes the form's end off.
    pub reader: FileReader,
    /// Bytes of the form before its file.
    pub before: u64,
    rest: Arriving,
}

/// Why the fields of a form cannot be known.
#[derive(Debug)]
pub enum Unread {
    /// The client's connection, or its slowness.
    Body(BodyFault),
    /// What it sent.
    Form(Malformed),
}

impl Arriving {
    /// The body of a form; it may be as slow as any other.
    #[must_use]
    pub fn new(client: ClientBody, pace: Pace) -> Self {
        Self { client, pace, progress: Progress::default(), came: 0 }
    }

    /// Reads the fields.
    ///
    /// # Errors
    /// [`Unread`]. A form that ends before its file is one of the client's connection: how long it is,
    /// its head has said.
    pub async fn fields(mut self, boundary: Boundary) -> Result<Reached, Unread> {
        let mut reader = Reader::new(boundary);
        loop {
            let Some(bytes) = self.frame().await.map_err(Unread::Body)? else {
                return Err(Unread::Body(BodyFault::Form(crate::s3::form::Fault::Cut)));
            };
            if let Some((form, first)) = reader.push(&bytes).map_err(Unread::Form)? {
                let before = self.came - first.len() as u64;
                return Ok(Reached { form, first, reader: reader.into_file(), before, rest: self });
            }
        }
    }

    /// The next bytes; `None` at the end.
    async fn frame(&mut self) -> Result<Option<Bytes>, BodyFault> {
        let dead_at = self.progress.waiting(Clock::system().mono(), self.pace);
        let next = poll_fn(|cx| self.client.poll_bytes(cx));
        let bytes = match tokio::time::timeout_at(dead_at.into(), next).await {
            Err(_) => return Err(BodyFault::TooSlow),
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => return Err(BodyFault::Aborted),
            Ok(Some(Ok(bytes))) => bytes,
        };
        self.progress.moved(bytes.len() as u64, Clock::system().mono(), self.pace);
        self.came += bytes.len() as u64;
        Ok(Some(bytes))
    }
}

impl Reached {
    /// Reads the rest of a form whose length is bounded by its head: its file.
    ///
    /// # Errors
    /// The body's fault.
    pub async fn whole(mut self) -> Result<Bytes, BodyFault> {
        let mut spans = Vec::new();
        let mut file = Vec::new();
        let mut bytes = Some(std::mem::take(&mut self.first));
        while let Some(come) = bytes {
            self.reader.push(&come, &mut spans)?;
            for span in spans.drain(..) {
                file.extend_from_slice(&span);
            }
            bytes = self.rest.frame().await?;
        }
        self.reader.finish()?;
        Ok(file.into())
    }

    /// What is still with the client, for who reads the file as it comes.
    pub fn into_client(self) -> (Bytes, FileReader, ClientBody) {
        (self.first, self.reader, self.rest.client)
    }
}
