//! The browser's form upload: a `POST` of `multipart/form-data` to a bucket. How its body is taken
//! apart, what its policy allows, and the `PutObject` that it stands for. Pure.
//!
//! Sources: "Browser-Based Uploads Using POST" of the S3 API reference; RFC 7578 and RFC 2046 §5.1.1
//! for the body.

mod ending;
mod fields;
mod multipart;
mod policy;
mod put;

pub use ending::{Endings, habit};
pub use fields::Form;
pub use multipart::{Boundary, Fault, FileReader, Reader};
pub use policy::{OutOfRange, Policy, SizeRange};
pub use put::{Success, post_response, preflight, put};
