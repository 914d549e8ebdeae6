//! Why the wire gate ended a connection, and what the client is told. Pure.

use crate::names::RequestId;

/// What a client sent that no request of ours may contain. Refused before anything else looks
/// at the request: parsers that disagree about such bytes are how requests are smuggled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// A line that does not end in CRLF, a lone CR, or more than one empty line before a request.
    LineEnd,
    /// Not `METHOD SP target SP HTTP-version`.
    RequestLine,
    /// `CONNECT`: we are no tunnel.
    Connect,
    /// Bytes that no request target may contain, or neither origin form nor absolute form.
    Target,
    /// The request line alone exceeds the limit of the head.
    TargetTooLong,
    /// Neither HTTP/1.1 nor HTTP/1.0.
    Version,
    /// A field line without a name, a colon or with control characters.
    Field,
    /// A field continued on the next line (`obs-fold`).
    Fold,
    /// No `Host`.
    HostMissing,
    /// More than one `Host`.
    HostRepeated,
    /// A `Host` that is not host and port.
    HostInvalid,
    /// An absolute target that names another authority than `Host`.
    Authority,
    /// More than one `Content-Length`.
    LengthRepeated,
    /// A `Content-Length` that is not a plain decimal number.
    LengthInvalid,
    /// A `Transfer-Encoding` other than one `chunked`, or any with HTTP/1.0.
    Transfer,
    /// `Content-Length` with `Transfer-Encoding`.
    LengthAndTransfer,
    /// The head exceeds its limit in bytes.
    HeadTooLarge,
    /// The head exceeds its limit in fields.
    TooManyFields,
    /// A chunk's size line is no hexadecimal number, or its extensions are malformed or too long.
    ChunkSize,
    /// A chunk does not end where it said it would.
    ChunkEnd,
    /// Trailers are malformed or exceed their limit.
    Trailers,
}

impl Violation {
    /// The label of metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::LineEnd => "line_end",
            Self::RequestLine => "request_line",
            Self::Connect => "connect",
            Self::Target => "target",
            Self::TargetTooLong => "target_too_long",
            Self::Version => "version",
            Self::Field => "field",
            Self::Fold => "fold",
            Self::HostMissing => "host_missing",
            Self::HostRepeated => "host_repeated",
            Self::HostInvalid => "host_invalid",
            Self::Authority => "authority",
            Self::LengthRepeated => "length_repeated",
            Self::LengthInvalid => "length_invalid",
            Self::Transfer => "transfer",
            Self::LengthAndTransfer => "length_and_transfer",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyFields => "too_many_fields",
            Self::ChunkSize => "chunk_size",
            Self::ChunkEnd => "chunk_end",
            Self::Trailers => "trailers",
        }
    }

    /// Status and reason phrase. 431 and 414 where the head was too long to be read, else 400.
    #[must_use]
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Self::Connect => (405, "Method Not Allowed"),
            Self::TargetTooLong => (414, "URI Too Long"),
            Self::HeadTooLarge => (431, "Request Header Fields Too Large"),
            _ => (400, "Bad Request"),
        }
    }

    /// The S3 error code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Connect => "MethodNotAllowed",
            Self::Target | Self::TargetTooLong => "InvalidURI",
            Self::HeadTooLarge | Self::TooManyFields => "RequestHeaderSectionTooLarge",
            _ => "InvalidRequest",
        }
    }

    /// What the client reads. Never repeats what it sent.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::LineEnd => "Lines must end with CR LF.",
            Self::RequestLine => "The request line is malformed.",
            Self::Connect => "The specified method is not allowed against this resource.",
            Self::Target => "The request target contains characters that must be percent-encoded.",
            Self::TargetTooLong => "The request target is too long.",
            Self::Version => "HTTP/1.1 or HTTP/1.0 is required.",
            Self::Field => "A header field is malformed.",
            Self::Fold => "Header fields must not be continued on the next line.",
            Self::HostMissing => "The Host header is missing.",
            Self::HostRepeated => "The Host header must not be repeated.",
            Self::HostInvalid => "The Host header is not a host and port.",
            Self::Authority => "The request target names another host than the Host header.",
            Self::LengthRepeated => "The Content-Length header must not be repeated.",
            Self::LengthInvalid => "The Content-Length header is not a number.",
            Self::Transfer => "The only Transfer-Encoding accepted is one chunked, with HTTP/1.1.",
            Self::LengthAndTransfer => "Content-Length and Transfer-Encoding must not be combined.",
            Self::HeadTooLarge => "Your request header section exceeds the maximum allowed size.",
            Self::TooManyFields => "Your request has too many header fields.",
            Self::ChunkSize => "A chunk size line is malformed.",
            Self::ChunkEnd => "A chunk does not end where its size says.",
            Self::Trailers => "The trailer section is malformed or too long.",
        }
    }

    /// The S3 error document.
    #[must_use]
    pub fn document(self, id: RequestId) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message><RequestId>{id}</RequestId><HostId>{id}</HostId></Error>",
            self.code(),
            self.message(),
        )
    }

    /// The whole HTTP/1.1 answer, after which the connection ends.
    #[must_use]
    pub fn answer(self, id: RequestId) -> Vec<u8> {
        let document = self.document(id);
        let (status, reason) = self.status();
        format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nx-amz-request-id: {id}\r\nx-amz-id-2: {id}\r\nConnection: close\r\n\r\n{document}",
            document.len(),
        )
        .into_bytes()
    }
}
