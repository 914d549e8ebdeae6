//! `aws-sdk-s3` behind the verbs of tests/rig/clients/lines.py: where to in the first line, then one JSON request a line in,
//! one reply a line out.

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::DisplayErrorContext;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

const PART: usize = 5 << 20;
const PRESIGNED: Duration = Duration::from_secs(300);

type Answer = Result<Value, Box<dyn Error>>;

struct Library {
    client: Client,
    bucket: String,
}

fn text(words: &Value, name: &str) -> String {
    words[name].as_str().unwrap_or_default().to_owned()
}

impl Library {
    fn new(target: &Value) -> Self {
        let keys =
            Credentials::new(text(target, "access_key"), text(target, "secret_key"), None, None, "rig");
        let mut config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(text(target, "endpoint"))
            .region(Region::new(text(target, "region")))
            .credentials_provider(keys)
            .force_path_style(true)
            .retry_config(RetryConfig::disabled());
        if target["checksums"] == "required" {
            config = config
                .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
                .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        }
        Self { client: Client::from_conf(config.build()), bucket: text(target, "bucket") }
    }

    async fn put(&self, words: &Value, body: ByteStream, algorithm: Option<ChecksumAlgorithm>) -> Answer {
        let metadata: Option<HashMap<String, String>> = words["metadata"].as_object().map(|pairs| {
            pairs
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect()
        });
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(text(words, "key"))
            .set_metadata(metadata)
            .set_checksum_algorithm(algorithm)
            .body(body)
            .send()
            .await?;
        Ok(Value::Null)
    }

    async fn multipart(&self, words: &Value) -> Answer {
        let key = text(words, "key");
        let begun = self.client.create_multipart_upload().bucket(&self.bucket).key(&key).send().await?;
        let id = begun.upload_id().ok_or("no upload id")?;
        let mut whole = CompletedMultipartUpload::builder();
        for (part, number) in std::fs::read(text(words, "body"))?.chunks(PART).zip(1..) {
            let stored = self
                .client
                .upload_part()
                .bucket(&self.bucket)
                .key(&key)
                .upload_id(id)
                .part_number(number)
                .body(ByteStream::from(part.to_vec()))
                .send()
                .await?;
            let done = CompletedPart::builder()
                .part_number(number)
                .set_e_tag(stored.e_tag)
                .set_checksum_crc32(stored.checksum_crc32)
                .build();
            whole = whole.parts(done);
        }
        self.client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .upload_id(id)
            .multipart_upload(whole.build())
            .send()
            .await?;
        Ok(Value::Null)
    }

    async fn get(&self, words: &Value) -> Answer {
        let reply = self.client.get_object().bucket(&self.bucket).key(text(words, "key")).send().await?;
        let mut sink = tokio::fs::File::create(text(words, "into")).await?;
        tokio::io::copy(&mut reply.body.into_async_read(), &mut sink).await?;
        tokio::io::AsyncWriteExt::flush(&mut sink).await?;
        Ok(Value::Null)
    }

    async fn range(&self, words: &Value) -> Answer {
        let span = format!("bytes={}-{}", words["first"], words["last"]);
        let asked = self.client.get_object().bucket(&self.bucket).key(text(words, "key")).range(span);
        let held = asked.send().await?.body.collect().await?.into_bytes();
        Ok(BASE64_STANDARD.encode(held).into())
    }

    async fn list(&self, words: &Value) -> Answer {
        let asked =
            self.client.list_objects_v2().bucket(&self.bucket).prefix(text(words, "prefix")).max_keys(3);
        let mut pages = asked.into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            keys.extend(page?.contents().iter().filter_map(|entry| entry.key().map(str::to_owned)));
        }
        Ok(keys.into())
    }

    async fn delete_many(&self, words: &Value) -> Answer {
        let mut wanted = Delete::builder();
        for key in words["keys"].as_array().into_iter().flatten() {
            wanted =
                wanted.objects(ObjectIdentifier::builder().key(key.as_str().unwrap_or_default()).build()?);
        }
        let reply = self.client.delete_objects().bucket(&self.bucket).delete(wanted.build()?).send().await?;
        match reply.errors().first() {
            None => Ok(Value::Null),
            Some(failed) => Err(format!("{failed:?}").into()),
        }
    }

    async fn answer(&self, words: &Value) -> Answer {
        let (client, bucket, key) = (&self.client, &self.bucket, text(words, "key"));
        let presigned = PresigningConfig::expires_in(PRESIGNED)?;
        match words["verb"].as_str().unwrap_or_default() {
            "put" => self.put(words, ByteStream::from_path(text(words, "body")).await?, None).await,
            "put_buffer" => self.put(words, std::fs::read(text(words, "body"))?.into(), None).await,
            "put_checked" => {
                let algorithm = ChecksumAlgorithm::from(text(words, "algorithm").as_str());
                self.put(words, ByteStream::from_path(text(words, "body")).await?, Some(algorithm)).await
            }
            "multipart" => self.multipart(words).await,
            "get" => self.get(words).await,
            "range" => self.range(words).await,
            "list" => self.list(words).await,
            "delete_many" => self.delete_many(words).await,
            "head" => {
                let reply = client.head_object().bucket(bucket).key(key).send().await?;
                Ok(json!([reply.content_length(), reply.metadata()]))
            }
            "delete" => {
                client.delete_object().bucket(bucket).key(key).send().await?;
                Ok(Value::Null)
            }
            "copy" => {
                let source = format!("{bucket}/{}", encoded(&text(words, "source")));
                client.copy_object().bucket(bucket).key(key).copy_source(source).send().await?;
                Ok(Value::Null)
            }
            "presign_get" => {
                let made = client.get_object().bucket(bucket).key(key).presigned(presigned).await?;
                Ok(made.uri().into())
            }
            "presign_put" => {
                let made = client.put_object().bucket(bucket).key(key).presigned(presigned).await?;
                Ok(made.uri().into())
            }
            other => Ok(json!({ "cannot": format!("has no {}", other.replace('_', " ")) })),
        }
    }
}

/// Percent-encoded, slashes too: what the SDK leaves to its caller for copy sources.
fn encoded(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    key.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut lines = std::io::stdin().lock().lines();
    let target = lines.next().ok_or("the first line says where to")??;
    let library = Library::new(&serde_json::from_str(&target)?);
    for line in lines {
        let reply = match library.answer(&serde_json::from_str(&line?)?).await {
            Ok(reply) if reply.get("cannot").is_some() => reply,
            Ok(value) => json!({ "value": value }),
            Err(cause) => {
                let said = DisplayErrorContext(&*cause).to_string();
                json!({ "error": said.chars().take(300).collect::<String>() })
            }
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{reply}")?;
        out.flush()?;
    }
    Ok(())
}
