//! What the lines of one head say about its end, its body and its host. Pure.
//!
//! Judges only what two parsers could read differently; what a well-framed request means is
//! `head::strict`'s and the grammar's business.

use super::Violation;

/// The facts gathered while a head's lines go by.
#[derive(Debug, Default)]
pub(super) struct HeadLines {
    /// Bytes of complete lines so far, CRLF included.
    pub(super) bytes: usize,
    /// Request line and fields so far.
    pub(super) lines: usize,
    /// One empty line before the request line was tolerated.
    skipped: bool,
    http10: bool,
    /// The authority of an absolute target, to be compared with `Host`.
    authority: Option<Box<[u8]>>,
    host: Option<Box<[u8]>>,
    hosts: u32,
    length: Option<u64>,
    chunked: bool,
}

/// How the body after a head is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// By `Content-Length`; 0 where there is none.
    Sized(u64),
    /// By `Transfer-Encoding: chunked`.
    Chunked,
}

impl HeadLines {
    /// Takes one line, without its CRLF; `Some` at the head's end.
    pub(super) fn line(&mut self, line: &[u8], fields_max: usize) -> Result<Option<Body>, Violation> {
        if line.is_empty() {
            return self.empty_line();
        }
        if self.lines == 0 {
            self.request_line(line)?;
        } else if self.lines > fields_max {
            return Err(Violation::TooManyFields);
        } else {
            self.field(line)?;
        }
        self.lines += 1;
        Ok(None)
    }

    /// The end of the head, or the one empty line that may precede it (RFC 9112 §2.2).
    fn empty_line(&mut self) -> Result<Option<Body>, Violation> {
        if self.lines > 0 {
            return self.end().map(Some);
        }
        if self.skipped {
            return Err(Violation::LineEnd);
        }
        self.skipped = true;
        Ok(None)
    }

    fn end(&self) -> Result<Body, Violation> {
        if self.hosts == 0 {
            return Err(Violation::HostMissing);
        }
        if let (Some(authority), Some(host)) = (&self.authority, &self.host)
            && !authority.eq_ignore_ascii_case(host)
        {
            return Err(Violation::Authority);
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Violation::LengthAndTransfer),
            (true, None) if self.http10 => Err(Violation::Transfer),
            (true, None) => Ok(Body::Chunked),
            (false, length) => Ok(Body::Sized(length.unwrap_or(0))),
        }
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Violation> {
        let mut parts = line.splitn(2, |byte| *byte == b' ');
        let (Some(method), Some(rest)) = (parts.next(), parts.next()) else {
            return Err(Violation::RequestLine);
        };
        if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
            return Err(Violation::RequestLine);
        }
        let at = memchr::memrchr(b' ', rest).ok_or(Violation::RequestLine)?;
        let (target, version) = rest.split_at_checked(at).ok_or(Violation::RequestLine)?;
        self.http10 = match version {
            b" HTTP/1.1" => false,
            b" HTTP/1.0" => true,
            version if version.starts_with(b" HTTP/") => return Err(Violation::Version),
            _ => return Err(Violation::RequestLine),
        };
        if method == b"CONNECT" {
            return Err(Violation::Connect);
        }
        self.target(target)
    }

    fn target(&mut self, target: &[u8]) -> Result<(), Violation> {
        if !is_sound_target(target) {
            return Err(Violation::Target);
        }
        if target.first() == Some(&b'/') {
            return Ok(());
        }
        let rest = strip_scheme(target).ok_or(Violation::Target)?;
        let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
        let authority = rest.get(..end).unwrap_or_default();
        if !is_host(authority) {
            return Err(Violation::Target);
        }
        self.authority = Some(authority.into());
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Violation> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Violation::Fold);
        }
        let (name, value) = split_field(line)?;
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host_field(value.trim_ascii()),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length_field(value.trim_ascii()),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_field(value.trim_ascii()),
            _ => Ok(()),
        }
    }

    fn host_field(&mut self, value: &[u8]) -> Result<(), Violation> {
        self.hosts += 1;
        if self.hosts > 1 {
            return Err(Violation::HostRepeated);
        }
        if !is_host(value) {
            return Err(Violation::HostInvalid);
        }
        if self.authority.is_some() {
            self.host = Some(value.into());
        }
        Ok(())
    }

    fn length_field(&mut self, value: &[u8]) -> Result<(), Violation> {
        if self.length.is_some() {
            return Err(Violation::LengthRepeated);
        }
        self.length = Some(decimal(value).ok_or(Violation::LengthInvalid)?);
        Ok(())
    }

    fn transfer_field(&mut self, value: &[u8]) -> Result<(), Violation> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Violation::Transfer);
        }
        self.chunked = true;
        Ok(())
    }
}

/// Name and value of a field line, the value with the white space around it.
pub(super) fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    let at = line.iter().position(|byte| !is_token(*byte)).ok_or(Violation::Field)?;
    let (name, rest) = line.split_at_checked(at).ok_or(Violation::Field)?;
    let value = rest.strip_prefix(b":").ok_or(Violation::Field)?;
    if name.is_empty() || has_control(value) {
        return Err(Violation::Field);
    }
    Ok((name, value))
}

/// Control characters other than a tab. Looks at every byte whatever it finds and sums in bytes,
/// so that the compiler takes sixteen at once: 40 % of the gate's cost otherwise.
fn has_control(value: &[u8]) -> bool {
    let sum = value.iter().fold(0, |seen, byte| {
        seen | (u8::from(*byte < b' ') & u8::from(*byte != b'\t')) | u8::from(*byte == 0x7f)
    });
    sum != 0
}

/// 1*DIGIT without leading zeros, at most `u64::MAX − 2` (HTTP libraries keep the last two for themselves).
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || (value.len() > 1 && value.first() == Some(&b'0')) {
        return None;
    }
    let number = value.iter().try_fold(0_u64, |sum, byte| match byte {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })?;
    (number < u64::MAX - 1).then_some(number)
}

/// `host`, `host:port`, `[address]` or `[address]:port`. Underscores are let in: container
/// networks name services with them.
fn is_host(value: &[u8]) -> bool {
    let (host_ok, rest) = if let Some(inner) = value.strip_prefix(b"[") {
        let Some(end) = memchr::memchr(b']', inner) else { return false };
        let address = inner.get(..end).and_then(|address| std::str::from_utf8(address).ok());
        let sound = address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
        (sound, inner.get(end + 1..).unwrap_or_default())
    } else {
        let end = memchr::memchr(b':', value).unwrap_or(value.len());
        let name = value.get(..end).unwrap_or_default();
        let sound = !name.is_empty() && name.iter().all(|byte| is_host_name(*byte));
        (sound, value.get(end..).unwrap_or_default())
    };
    host_ok && is_port(rest)
}

/// Nothing, or a colon and one to five digits.
fn is_port(rest: &[u8]) -> bool {
    match rest.strip_prefix(b":") {
        None => rest.is_empty(),
        Some(port) => (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit),
    }
}

fn is_host_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn strip_scheme(target: &[u8]) -> Option<&[u8]> {
    [&b"http://"[..], b"https://"].into_iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// Bytes of a method or a field name (RFC 9110 §5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    loop {
        #[expect(clippy::indexing_slicing, reason = "a byte indexes a table of 256; checked at compile time")]
        {
            table[byte as usize] = byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                );
        }
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

/// What a target may contain: visible characters and UTF-8, without those that some parser
/// cuts, turns or refuses: `#` ends it for many, `\` is a slash for some, and the rest hyper's
/// would refuse with an empty answer.
fn is_sound_target(target: &[u8]) -> bool {
    let at = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at_checked(at).unwrap_or((target, &[]));
    path.iter().all(|byte| is_visible(*byte) && *byte != b'`')
        && query.iter().all(|byte| is_visible(*byte) && *byte != b'"')
        && (target.is_ascii() || std::str::from_utf8(target).is_ok())
}

fn is_visible(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && !matches!(byte, b'#' | b'\\' | b'<' | b'>')
}
