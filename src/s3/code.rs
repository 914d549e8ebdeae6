//! S3's error codes: text, status and the message that goes with each. Pure.
//!
//! Source: the error table of the S3 API reference and of the AWS SDKs' service model. Messages
//! are S3's own words where those are public, since people search for them; none of them names a
//! bucket, a region, an account or a key.

use http::StatusCode;

macro_rules! codes {
    ($($name:ident $status:ident $message:literal;)*) => {
        /// An S3 error code that nearpoint emits or reads.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(
                #[doc = concat!("`", $message, "`")]
                $name,
            )*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As it stands in `<Code>`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The status that S3 sends with it.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)*
                }
            }

            /// What S3 says with it, naming nothing.
            #[must_use]
            pub fn message(self) -> &'static str {
                match self {
                    $(Self::$name => $message,)*
                }
            }

            /// The code of a `<Code>` text, where we know it.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Some(match text {
                    $(stringify!($name) => Self::$name,)*
                    _ => return None,
                })
            }
        }
    };
}

codes! {
    AccessControlListNotSupported BAD_REQUEST "The bucket does not allow ACLs.";
    AccessDenied FORBIDDEN "Access Denied";
    AccessForbidden FORBIDDEN "CORSResponse: This CORS request is not allowed.";
    AccountProblem FORBIDDEN "There is a problem with your account that prevents the operation from completing successfully.";
    AllAccessDisabled FORBIDDEN "All access to this resource has been disabled.";
    AuthorizationHeaderMalformed BAD_REQUEST "The authorization header that you provided is not valid.";
    AuthorizationQueryParametersError BAD_REQUEST "The authorization query parameters that you provided are not valid.";
    BadDigest BAD_REQUEST "The Content-MD5 or checksum value that you specified did not match what the server received.";
    BadRequest BAD_REQUEST "The request is not valid.";
    BandwidthLimitExceeded SERVICE_UNAVAILABLE "Please reduce your request rate.";
    BucketAlreadyExists CONFLICT "The requested bucket name is not available.";
    BucketAlreadyOwnedByYou CONFLICT "Your previous request to create the named bucket succeeded and you already own it.";
    BucketNotEmpty CONFLICT "The bucket that you tried to delete is not empty.";
    ConditionalRequestConflict CONFLICT "The conditional request cannot succeed due to a conflicting operation against this resource.";
    EntityTooLarge BAD_REQUEST "Your proposed upload exceeds the maximum allowed size";
    EntityTooSmall BAD_REQUEST "Your proposed upload is smaller than the minimum allowed size";
    ExpiredToken BAD_REQUEST "The provided token has expired.";
    IllegalLocationConstraintException BAD_REQUEST "The specified location constraint is not valid for this endpoint.";
    IncompleteBody BAD_REQUEST "You did not provide the number of bytes specified by the Content-Length HTTP header";
    InternalError INTERNAL_SERVER_ERROR "We encountered an internal error. Please try again.";
    InvalidAccessKeyId FORBIDDEN "The AWS Access Key Id you provided does not exist in our records.";
    InvalidArgument BAD_REQUEST "Invalid Argument";
    InvalidBucketName BAD_REQUEST "The specified bucket is not valid.";
    InvalidBucketState CONFLICT "The request is not valid for the current state of the bucket.";
    InvalidChunkSizeError BAD_REQUEST "Only the last chunk is allowed to have a size less than 8192 bytes";
    InvalidDigest BAD_REQUEST "The Content-MD5 you specified was invalid.";
    InvalidEncryptionAlgorithmError BAD_REQUEST "The encryption request that you specified is not valid. The valid value is AES256.";
    InvalidLocationConstraint BAD_REQUEST "The specified location constraint is not valid.";
    InvalidObjectState FORBIDDEN "The operation is not valid for the current state of the object.";
    InvalidPart BAD_REQUEST "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.";
    InvalidPartNumber RANGE_NOT_SATISFIABLE "The requested partnumber is not satisfiable";
    InvalidPartOrder BAD_REQUEST "The list of parts was not in ascending order. Parts must be ordered by part number.";
    InvalidPolicyDocument BAD_REQUEST "The content of the form does not meet the conditions specified in the policy document.";
    InvalidRange RANGE_NOT_SATISFIABLE "The requested range is not satisfiable";
    InvalidRequest BAD_REQUEST "Invalid Request";
    InvalidSecurity FORBIDDEN "The provided security credentials are not valid.";
    InvalidStorageClass BAD_REQUEST "The storage class you specified is not valid";
    InvalidTag BAD_REQUEST "The tag provided was not a valid tag.";
    InvalidTargetBucketForLogging BAD_REQUEST "The target bucket for logging does not exist, is not owned by you, or does not have the appropriate grants.";
    InvalidToken BAD_REQUEST "The provided token is malformed or otherwise invalid.";
    InvalidTokenId FORBIDDEN "The security token included in the request is invalid.";
    InvalidURI BAD_REQUEST "Couldn't parse the specified URI.";
    KeyTooLongError BAD_REQUEST "Your key is too long";
    MalformedACLError BAD_REQUEST "The XML you provided was not well-formed or did not validate against our published schema";
    MalformedPOSTRequest BAD_REQUEST "The body of your POST request is not well-formed multipart/form-data.";
    MalformedPolicy BAD_REQUEST "Policies must be valid JSON.";
    MalformedTrailerError BAD_REQUEST "The request contained trailing data that was not well-formed or did not conform to our published schema.";
    MalformedXML BAD_REQUEST "The XML you provided was not well-formed or did not validate against our published schema";
    MaxMessageLengthExceeded BAD_REQUEST "Your request was too big.";
    MaxPostPreDataLengthExceededError BAD_REQUEST "Your POST request fields preceding the upload file were too large.";
    MetadataTooLarge BAD_REQUEST "Your metadata headers exceed the maximum allowed metadata size";
    MethodNotAllowed METHOD_NOT_ALLOWED "The specified method is not allowed against this resource.";
    MissingContentLength LENGTH_REQUIRED "You must provide the Content-Length HTTP header.";
    MissingRequestBodyError BAD_REQUEST "Request Body is empty";
    MissingSecurityHeader BAD_REQUEST "Your request was missing a required header";
    NoSuchBucket NOT_FOUND "The specified bucket does not exist";
    NoSuchBucketPolicy NOT_FOUND "The bucket policy does not exist";
    NoSuchCORSConfiguration NOT_FOUND "The CORS configuration does not exist";
    NoSuchConfiguration NOT_FOUND "The specified configuration does not exist.";
    NoSuchKey NOT_FOUND "The specified key does not exist.";
    NoSuchLifecycleConfiguration NOT_FOUND "The lifecycle configuration does not exist";
    NoSuchObjectLockConfiguration NOT_FOUND "The specified object does not have a ObjectLock configuration";
    NoSuchPublicAccessBlockConfiguration NOT_FOUND "The public access block configuration was not found";
    NoSuchTagSet NOT_FOUND "The TagSet does not exist";
    NoSuchUpload NOT_FOUND "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.";
    NoSuchVersion NOT_FOUND "The specified version does not exist.";
    NoSuchWebsiteConfiguration NOT_FOUND "The specified bucket does not have a website configuration";
    NotImplemented NOT_IMPLEMENTED "A header or query you provided requested a function that is not implemented.";
    NotModified NOT_MODIFIED "Not Modified";
    NotSignedUp FORBIDDEN "Your account is not signed up for the Amazon S3 service.";
    ObjectLockConfigurationNotFoundError NOT_FOUND "Object Lock configuration does not exist for this bucket";
    OperationAborted CONFLICT "A conflicting conditional operation is currently in progress against this resource. Please try again.";
    OwnershipControlsNotFoundError NOT_FOUND "The bucket ownership controls were not found";
    PermanentRedirect MOVED_PERMANENTLY "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.";
    PreconditionFailed PRECONDITION_FAILED "At least one of the pre-conditions you specified did not hold";
    PriorRequestNotComplete BAD_REQUEST "A prior request has not completed. Please try again.";
    Redirect TEMPORARY_REDIRECT "Temporary redirect.";
    ReplicationConfigurationNotFoundError NOT_FOUND "The replication configuration was not found";
    RequestHeaderSectionTooLarge BAD_REQUEST "Your request header section exceeds the maximum allowed request header section size.";
    RequestIsNotMultiPartContent BAD_REQUEST "Bucket POST must be of the enclosure-type multipart/form-data.";
    RequestTimeTooSkewed FORBIDDEN "The difference between the request time and the current time is too large.";
    RequestTimeout BAD_REQUEST "Your socket connection to the server was not read from or written to within the timeout period.";
    RestoreAlreadyInProgress CONFLICT "Object restore is already in progress.";
    ServerSideEncryptionConfigurationNotFoundError NOT_FOUND "The server side encryption configuration was not found";
    ServiceUnavailable SERVICE_UNAVAILABLE "Service is unable to handle request.";
    SignatureDoesNotMatch FORBIDDEN "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    SlowDown SERVICE_UNAVAILABLE "Please reduce your request rate.";
    TemporaryRedirect TEMPORARY_REDIRECT "Please re-send this request to the specified temporary endpoint. Continue to use the original request endpoint for future requests.";
    Throttling BAD_REQUEST "Rate exceeded";
    ThrottlingException BAD_REQUEST "Rate exceeded";
    TokenRefreshRequired BAD_REQUEST "The provided token must be refreshed.";
    TooManyBuckets BAD_REQUEST "You have attempted to create more buckets than allowed.";
    TransactionInProgressException BAD_REQUEST "A transaction is in progress. Please try again.";
    UnexpectedContent BAD_REQUEST "This request does not support content.";
    UnresolvableGrantByEmailAddress BAD_REQUEST "The email address that you provided does not match any account on record.";
    UserKeyMustBeSpecified BAD_REQUEST "The bucket POST must contain the specified field name.";
    XAmzContentChecksumMismatch BAD_REQUEST "The provided 'x-amz-checksum' header does not match what was computed.";
    XAmzContentSHA256Mismatch BAD_REQUEST "The provided 'x-amz-content-sha256' header does not match what was computed.";
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_read_as_it_is_written() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
            assert!(!code.message().is_empty());
            let status = code.status();
            assert!(status.is_client_error() || status.is_server_error() || status.is_redirection());
        }
        assert_eq!(Code::parse("NoSuchThing"), None);
        assert_eq!(Code::parse("nosuchkey"), None);
    }

    #[test]
    fn statuses_that_surprise_are_right() {
        assert_eq!(Code::RequestTimeout.status(), 400);
        assert_eq!(Code::SlowDown.status(), 503);
        assert_eq!(Code::MissingContentLength.status(), 411);
        assert_eq!(Code::ExpiredToken.status(), 400);
        assert_eq!(Code::InvalidObjectState.status(), 403);
        assert_eq!(Code::PreconditionFailed.status(), 412);
    }
}
