//! Bytes of a body in the order in which they came, held at the price of their number. Pure.
//!
//! A span that is held as it came costs a handle of some tens of bytes beside its own, and keeps
//! the whole buffer that it was read into. Whoever sends a body in pieces of one byte would have a
//! hundred times as much held as is counted. So small spans are copied together, and only large
//! ones are held as they came.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// From so many bytes on a span is held as it came: its handle is 1 % of it, and copying it would
/// show in what an upload costs.
const LARGE: usize = 4 * 1024;
/// Bytes into which small spans are copied at a time, where so many are still expected.
const TAIL: usize = 16 * 1024;

/// Bytes that are taken out at the front, or read again by [`Cursor`]s.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// Bytes that will be put in at most, over all time.
    expected: u64,
    /// Bytes that were put in so far.
    taken: u64,
    closed: VecDeque<Bytes>,
    /// What small spans are copied into, behind all that is closed.
    tail: BytesMut,
}

/// How far somebody has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    span: usize,
    within: usize,
}

impl Spans {
    /// None yet, of a body of so many bytes: no more room than that is made.
    pub(super) fn expecting(bytes: u64) -> Self {
        Self { expected: bytes, ..Self::default() }
    }

    /// Puts in a span, without copying it where it is large or the whole body.
    pub(super) fn push(&mut self, span: Bytes) {
        if span.is_empty() || span.len() < LARGE && span.len() as u64 != self.expected {
            return self.copy(&span);
        }
        self.close_tail();
        self.taken += span.len() as u64;
        self.closed.push_back(span);
    }

    /// Puts in a copy: nothing of what the bytes lie in is kept.
    pub(super) fn copy(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.tail.capacity() == self.tail.len() {
                self.close_tail();
                let left = usize::try_from(self.expected.saturating_sub(self.taken)).unwrap_or(usize::MAX);
                self.tail = BytesMut::with_capacity(left.max(bytes.len()).min(TAIL));
            }
            let room = self.tail.capacity() - self.tail.len();
            let (fits, rest) = bytes.split_at(room.min(bytes.len()));
            self.tail.extend_from_slice(fits);
            self.taken += fits.len() as u64;
            bytes = rest;
        }
    }

    /// Takes up to `most` bytes out at the front.
    pub(super) fn take(&mut self, most: usize) -> Option<Bytes> {
        if most == 0 {
            return None;
        }
        match self.closed.front_mut() {
            Some(front) if front.len() > most => Some(front.split_to(most)),
            Some(_) => self.closed.pop_front(),
            None if self.tail.is_empty() => None,
            None => Some(self.tail.split_to(self.tail.len().min(most)).freeze()),
        }
    }

    /// What comes after a cursor, which is moved behind it. `None` where it is at the end: of what
    /// nothing was taken out of, and until more is put in.
    pub(super) fn read(&self, cursor: &mut Cursor) -> Option<Bytes> {
        while let Some(span) = self.closed.get(cursor.span) {
            // a part of it may have been read while it was the tail
            let unread = span.slice(cursor.within.min(span.len())..);
            *cursor = Cursor { span: cursor.span + 1, within: 0 };
            if !unread.is_empty() {
                return Some(unread);
            }
        }
        let unread = self.tail.get(cursor.within..).filter(|unread| !unread.is_empty())?;
        *cursor = self.end();
        Some(Bytes::copy_from_slice(unread))
    }

    /// The cursor of somebody who has read all.
    pub(super) fn end(&self) -> Cursor {
        Cursor { span: self.closed.len(), within: self.tail.len() }
    }

    /// All of it, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.closed.iter().map(|span| &span[..]).chain(std::iter::once(&self.tail[..]))
    }

    /// Closes the tail; the room behind it is used for what comes next.
    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.closed.push_back(self.tail.split().freeze());
        }
    }

    /// How many handles are held.
    #[cfg(test)]
    pub(super) fn handles(&self) -> usize {
        self.closed.capacity() + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIB: usize = 1024;

    fn object(length: usize) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect()
    }

    /// The object in pieces of these sizes, the last one of what is left.
    fn pieces<'o>(mut object: &'o [u8], sizes: &[usize]) -> Vec<&'o [u8]> {
        let mut pieces = Vec::new();
        for size in sizes {
            let (piece, rest) = object.split_at((*size).min(object.len()));
            pieces.push(piece);
            object = rest;
        }
        pieces.push(object);
        pieces
    }

    #[test]
    fn a_body_in_bytes_is_held_in_few_spans_and_keeps_none_of_the_buffers_it_came_in() {
        let mut spans = Spans::expecting(1024 * KIB as u64);
        for byte in object(1024 * KIB) {
            let buffer = Bytes::from(vec![byte; 8 * KIB]);
            spans.push(buffer.slice(17..18));
            assert!(buffer.is_unique(), "nobody holds the buffer");
        }
        assert_eq!(spans.iter().map(<[u8]>::len).sum::<usize>(), 1024 * KIB);
        assert!(spans.handles() <= 2 * 1024 * KIB / TAIL, "{} handles", spans.handles());
    }

    #[test]
    fn small_spans_between_large_ones_share_their_room() {
        let mut spans = Spans::expecting(1024 * KIB as u64);
        let buffer = Bytes::from(object(LARGE));
        for _ in 0..200 {
            spans.push(buffer.clone());
            spans.push(buffer.slice(..1));
        }
        let small: Vec<&[u8]> = spans.iter().filter(|span| span.len() == 1).collect();
        let (first, last) = (small.first().unwrap().as_ptr(), small.last().unwrap().as_ptr());
        assert_eq!((small.len(), last as usize - first as usize), (200, 199), "one allocation");
    }

    #[test]
    fn what_is_large_or_whole_is_not_copied() {
        for length in [1, LARGE, 3 * LARGE] {
            let (buffer, mut spans) = (Bytes::from(object(length)), Spans::expecting(length as u64));
            spans.push(buffer.clone());
            assert_eq!(spans.take(usize::MAX).map(|span| span.as_ptr()), Some(buffer.as_ptr()));
        }
    }

    #[test]
    fn no_more_room_is_made_than_a_body_needs() {
        let mut spans = Spans::expecting(100);
        spans.copy(b"1");
        assert_eq!(spans.tail.capacity(), 100);
    }

    proptest! {
        #[test]
        fn any_split_holds_the_same_bytes(
            length in 0..40 * KIB,
            sizes in proptest::collection::vec(prop_oneof![0..3_usize, 0..9 * KIB], 0..40),
            most in proptest::collection::vec(0..9 * KIB, 1..8),
        ) {
            let object = object(length);
            let (mut held, mut kept) = (Spans::expecting(length as u64), Spans::expecting(length as u64));
            let (mut live, mut taken, mut seen) = (Cursor::default(), Vec::new(), Vec::new());
            let mut most = most.iter().cycle();
            for piece in pieces(&object, &sizes) {
                held.push(Bytes::copy_from_slice(piece));
                let Some(span) = held.take(*most.next().unwrap()) else { continue };
                taken.extend_from_slice(&span);
                kept.push(span);
                // a second reader comes along now and then
                if piece.len() % 3 == 0 {
                    while let Some(span) = kept.read(&mut live) {
                        seen.extend_from_slice(&span);
                    }
                    prop_assert_eq!(live, kept.end());
                }
            }
            while let Some(span) = held.take(usize::MAX) {
                taken.extend_from_slice(&span);
                kept.push(span);
            }
            while let Some(span) = kept.read(&mut live) {
                seen.extend_from_slice(&span);
            }
            let (mut again, mut cursor) = (Vec::new(), Cursor::default());
            while let Some(span) = kept.read(&mut cursor) {
                again.extend_from_slice(&span);
            }
            prop_assert_eq!(&taken, &object);
            prop_assert_eq!(&seen, &object);
            prop_assert_eq!(&again, &object);
            prop_assert_eq!(kept.iter().collect::<Vec<_>>().concat(), object);
        }
    }
}
