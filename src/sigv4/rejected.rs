//! Why a head was not accepted, with the facts that S3's error document carries.
//!
//! Never an expected signature, a secret or a session token: what is said here goes to strangers.

use std::fmt;

use crate::names::AccessKeyId;
use crate::sigv4::{Algorithm, Stamp};

/// Where a credential was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `Authorization`.
    Header,
    /// `X-Amz-*` parameters: a presigned URL.
    Query,
    /// Fields of a form upload.
    Form,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "Authorization header",
            Self::Query => "query-string authentication",
            Self::Form => "authentication of the form",
        })
    }
}

/// The part of a credential's scope between day and service.
fn in_scope(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Hmac => "REGION/",
        Algorithm::Ecdsa => "",
    }
}

/// What is wrong with the text of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// This part or parameter is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// This part or parameter occurs twice.
    #[error("{0} occurs more than once")]
    Repeated(&'static str),
    /// A part that does not belong there.
    #[error("there is a part that is none of Credential, SignedHeaders and Signature")]
    UnknownPart,
    /// This part or parameter is not text.
    #[error("{0} is not UTF-8 text")]
    NotText(&'static str),
    /// Not `ACCESS-KEY/YYYYMMDD/REGION/s3/aws4_request`; SigV4A's has no region.
    #[error("the Credential must be of the form ACCESS-KEY/YYYYMMDD/{}s3/aws4_request", in_scope(*.0))]
    Credential(Algorithm),
    /// Not lower-case names in order, each once, joined by `;`.
    #[error("SignedHeaders must be lower-case names in order, each once, joined by ';'")]
    SignedHeaders,
    /// `X-Amz-Algorithm` names no algorithm that S3 knows.
    #[error("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256\"")]
    Algorithm,
    /// The same of a form, whose policy has one algorithm only.
    #[error("x-amz-algorithm only supports AWS4-HMAC-SHA256")]
    FormAlgorithm,
}

/// What is wrong with the date of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateFault {
    /// Neither `x-amz-date` nor `Date`.
    Missing,
    /// Not a date.
    NotADate,
}

/// What is wrong with `X-Amz-Expires`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpiresFault {
    /// Not a whole number of seconds.
    #[error("X-Amz-Expires should be a number")]
    NotANumber,
    /// Below 1.
    #[error("X-Amz-Expires must be at least 1 second")]
    TooShort,
    /// Above 604,800 (a week).
    #[error("X-Amz-Expires must not be more than a week (in seconds), 604800")]
    TooLong,
}

/// The facts of a signature that does not match: what the signer needs to find its mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Who the request says it is from.
    pub access_key_id: AccessKeyId,
    /// The signature that came.
    pub provided: String,
    /// What was signed here: algorithm, time, scope and the digest of the canonical request. Empty
    /// for a form.
    pub string_to_sign: String,
    /// The canonical request, values of tokens and customer keys left out. Empty for a form.
    pub canonical_request: String,
    /// What differs from what was signed, for clients that are to be told.
    pub told: Option<String>,
}

/// Why a head was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// An `Authorization` without content.
    #[error("Authorization header is invalid -- one and only one ' ' (space) required")]
    EmptyAuthorization,
    /// An `Authorization` of a scheme that S3 does not know (`Basic`, `Bearer`). Its text is not
    /// repeated: it is somebody's credential.
    #[error("Unsupported Authorization Type")]
    UnsupportedScheme,
    /// Two `Authorization` headers.
    #[error("Only one Authorization header is allowed")]
    TwoAuthorizations,
    /// A credential in the header and one in the query.
    #[error(
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query \
         string parameter or the Authorization header should be specified"
    )]
    TwoMechanisms,
    /// Signed with Signature Version 2.
    #[error(
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256. \
         This request was signed with Signature Version 2 ({0}); set signature_version=\"s3v4\" in the client."
    )]
    SignatureV2(Place),
    /// A form that says something of its sender does not say this.
    #[error(
        "Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the \
         fields."
    )]
    FieldMissing {
        /// The field.
        name: &'static str,
    },
    /// The credential's text is not well formed.
    #[error("The {place} is malformed; {fault}")]
    Malformed {
        /// Where.
        place: Place,
        /// What.
        fault: Malformed,
    },
    /// Signed for another region.
    #[error("The {place} is malformed; the region '{presented}' is wrong; expecting '{expected}'")]
    WrongRegion {
        /// Where.
        place: Place,
        /// The region in the credential.
        presented: String,
        /// The region to sign for.
        expected: String,
    },
    /// Signed for another service than `s3`.
    #[error("The {place} is malformed; incorrect service \"{presented}\". This endpoint belongs to \"s3\".")]
    WrongService {
        /// Where.
        place: Place,
        /// The service in the credential.
        presented: String,
    },
    /// The scope does not end in `aws4_request`.
    #[error(
        "The {place} is malformed; incorrect terminal \"{presented}\". This endpoint uses \"aws4_request\"."
    )]
    WrongTerminator {
        /// Where.
        place: Place,
        /// The last part of the credential.
        presented: String,
    },
    /// The scope's day is not the request's.
    #[error(
        "The {place} is malformed; Invalid credential date \"{presented}\". This date is not the same as X-Amz-Date: \"{day}\"."
    )]
    ScopeDate {
        /// Where.
        place: Place,
        /// The day in the credential.
        presented: String,
        /// The day of the request's time.
        day: String,
    },
    /// No date in the headers, or none that can be read.
    #[error("AWS authentication requires a valid Date or x-amz-date header")]
    HeaderDate(DateFault),
    /// `X-Amz-Date` cannot be read.
    #[error("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")]
    QueryDate,
    /// The request's time is too far from ours.
    #[error("The difference between the request time and the server's time is too large.")]
    TimeTooSkewed {
        /// The request's time.
        request: Stamp,
        /// Ours.
        server: Stamp,
        /// What is allowed, in milliseconds.
        skew_ms_max: u64,
    },
    /// `X-Amz-Expires` is no number of seconds within a week.
    #[error("{0}")]
    Expires(ExpiresFault),
    /// A presigned URL whose time is over.
    #[error("Request has expired")]
    Expired {
        /// For how many seconds it was good.
        seconds: u32,
        /// Until when.
        until: Stamp,
        /// Our time.
        server: Stamp,
    },
    /// A presigned URL from the future.
    #[error("Request is not valid yet")]
    NotValidYet {
        /// The request's time.
        request: Stamp,
        /// Ours.
        server: Stamp,
    },
    /// `host` is not signed.
    #[error("There were headers present in the request which were not signed")]
    HostNotSigned,
    /// `x-amz-*` headers that are not signed.
    #[error("There were headers present in the request which were not signed")]
    HeadersNotSigned {
        /// Their names, in order, each once.
        names: Vec<String>,
    },
    /// A header that may occur once only occurs more often.
    #[error("The header {name} may occur only once")]
    RepeatedHeader {
        /// Its name.
        name: &'static str,
    },
    /// Nobody has this key.
    #[error("The AWS Access Key Id you provided does not exist in our records.")]
    UnknownKey {
        /// The id that came.
        access_key_id: AccessKeyId,
    },
    /// The signature is not that of this request.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your key \
         and signing method."
    )]
    SignatureMismatch(Box<Mismatch>),
    /// The key belongs to temporary credentials and no token came.
    #[error("The provided token is malformed or otherwise invalid.")]
    TokenMissing,
    /// A token came with a key that has none.
    #[error("The provided token is malformed or otherwise invalid.")]
    TokenUnexpected,
    /// Not the key's token.
    #[error("The provided token is malformed or otherwise invalid.")]
    TokenWrong,
    /// No `x-amz-content-sha256` beside an `Authorization`.
    #[error("Missing required header for this request: x-amz-content-sha256")]
    ContentSha256Missing,
    /// `x-amz-content-sha256` is neither a hash nor one of the documented words.
    #[error(
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
         STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid \
         sha256 value."
    )]
    ContentSha256Invalid {
        /// What came, cut after 128 characters.
        value: String,
    },
    /// Query and header name different payloads.
    #[error("x-amz-content-sha256 differs between the query and the headers")]
    ContentSha256Contradicts,
    /// The body's chunks are signed with the other algorithm than the head.
    #[error("The chunks of the body must be signed with the algorithm that signs the request")]
    ForeignChunks,
    /// Signed chunks need a seed signature in the header.
    #[error("A presigned request cannot have a body of signed chunks. Please use UNSIGNED-PAYLOAD")]
    SignedChunksPresigned,
    /// Signed chunks need a key.
    #[error(
        "Anonymous requests don't support this x-amz-content-sha256 value. Please use UNSIGNED-PAYLOAD or \
         STREAMING-UNSIGNED-PAYLOAD-TRAILER."
    )]
    SignedChunksAnonymous,
}

impl Rejected {
    /// S3's error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::EmptyAuthorization
            | Self::UnsupportedScheme
            | Self::TwoAuthorizations
            | Self::TwoMechanisms
            | Self::FieldMissing { .. }
            | Self::ContentSha256Invalid { .. }
            | Self::ContentSha256Contradicts => "InvalidArgument",
            Self::SignatureV2(_)
            | Self::RepeatedHeader { .. }
            | Self::ContentSha256Missing
            | Self::ForeignChunks
            | Self::SignedChunksPresigned
            | Self::SignedChunksAnonymous => "InvalidRequest",
            Self::Malformed { place, .. }
            | Self::WrongRegion { place, .. }
            | Self::WrongService { place, .. }
            | Self::WrongTerminator { place, .. }
            | Self::ScopeDate { place, .. } => match place {
                Place::Header => "AuthorizationHeaderMalformed",
                Place::Query | Place::Form => "AuthorizationQueryParametersError",
            },
            Self::QueryDate | Self::Expires(_) => "AuthorizationQueryParametersError",
            Self::TimeTooSkewed { .. } => "RequestTimeTooSkewed",
            Self::HeaderDate(_)
            | Self::Expired { .. }
            | Self::NotValidYet { .. }
            | Self::HostNotSigned
            | Self::HeadersNotSigned { .. } => "AccessDenied",
            Self::UnknownKey { .. } => "InvalidAccessKeyId",
            Self::SignatureMismatch(_) => "SignatureDoesNotMatch",
            Self::TokenMissing | Self::TokenUnexpected | Self::TokenWrong => "InvalidToken",
        }
    }

    /// The elements of S3's error document beside `Code`, `Message`, `Resource` and `RequestId`:
    /// names and raw values, which the writer of the document escapes.
    #[must_use]
    pub fn details(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::EmptyAuthorization | Self::UnsupportedScheme | Self::TwoAuthorizations => {
                vec![("ArgumentName", "Authorization".to_owned())]
            }
            Self::FieldMissing { name } => {
                vec![("ArgumentName", (*name).to_owned()), ("ArgumentValue", String::new())]
            }
            Self::ContentSha256Invalid { value } => {
                vec![("ArgumentName", "x-amz-content-sha256".to_owned()), ("ArgumentValue", value.clone())]
            }
            Self::ContentSha256Contradicts => vec![("ArgumentName", "x-amz-content-sha256".to_owned())],
            Self::WrongRegion { expected, .. } => vec![("Region", expected.clone())],
            Self::TimeTooSkewed { request, server, skew_ms_max } => vec![
                ("RequestTime", request.text().to_owned()),
                ("ServerTime", server.extended()),
                ("MaxAllowedSkewMilliseconds", skew_ms_max.to_string()),
            ],
            Self::Expired { seconds, until, server } => vec![
                ("X-Amz-Expires", seconds.to_string()),
                ("Expires", until.extended()),
                ("ServerTime", server.extended()),
            ],
            Self::NotValidYet { request, server } => {
                vec![("X-Amz-Date", request.text().to_owned()), ("ServerTime", server.extended())]
            }
            Self::HostNotSigned => vec![("HeadersNotSigned", "host".to_owned())],
            Self::HeadersNotSigned { names } => vec![("HeadersNotSigned", names.join(", "))],
            Self::UnknownKey { access_key_id } => {
                vec![("AWSAccessKeyId", access_key_id.as_str().to_owned())]
            }
            Self::SignatureMismatch(mismatch) => mismatch.details(),
            Self::TwoMechanisms
            | Self::SignatureV2(_)
            | Self::Malformed { .. }
            | Self::WrongService { .. }
            | Self::WrongTerminator { .. }
            | Self::ScopeDate { .. }
            | Self::HeaderDate(_)
            | Self::QueryDate
            | Self::Expires(_)
            | Self::RepeatedHeader { .. }
            | Self::TokenMissing
            | Self::TokenUnexpected
            | Self::TokenWrong
            | Self::ContentSha256Missing
            | Self::ForeignChunks
            | Self::SignedChunksPresigned
            | Self::SignedChunksAnonymous => Vec::new(),
        }
    }

    /// The HTTP status of [`Self::code`].
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.code() {
            "AccessDenied" | "InvalidAccessKeyId" | "RequestTimeTooSkewed" | "SignatureDoesNotMatch" => 403,
            _ => 400,
        }
    }
}

impl Mismatch {
    fn details(&self) -> Vec<(&'static str, String)> {
        let (signed, canonical) = (bytes_of(&self.string_to_sign), bytes_of(&self.canonical_request));
        let all = [
            ("AWSAccessKeyId", self.access_key_id.as_str()),
            ("StringToSign", &self.string_to_sign),
            ("SignatureProvided", &self.provided),
            ("StringToSignBytes", &signed),
            ("CanonicalRequest", &self.canonical_request),
            ("CanonicalRequestBytes", &canonical),
            ("SignatureDiagnosis", self.told.as_deref().unwrap_or_default()),
        ];
        let said = all.into_iter().filter(|(_, text)| !text.is_empty());
        said.map(|(name, text)| (name, text.to_owned())).collect()
    }
}

/// Text as S3 shows its bytes: in hexadecimal, a space between two.
fn bytes_of(text: &str) -> String {
    let mut shown = String::with_capacity(3 * text.len());
    for (at, digit) in hex::encode(text).chars().enumerate() {
        if at > 0 && at % 2 == 0 {
            shown.push(' ');
        }
        shown.push(digit);
    }
    shown
}
