//! Room: token.
#[derive(Debug)]
pub struct Keys;
