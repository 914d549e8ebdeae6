//! The date that answers carry, in the form of RFC 9110 §5.6.7. Pure.

use crate::units::UnixSeconds;

/// The text of the last second that was asked for: a connection that is busy asks often.
#[derive(Debug, Default)]
pub(super) struct Today {
    second: Option<UnixSeconds>,
    text: String,
}

impl Today {
    /// `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub(super) fn text(&mut self, now: UnixSeconds) -> &str {
        if self.second != Some(now) {
            self.second = Some(now);
            let at = jiff::Timestamp::from_second(now.0).unwrap_or_default();
            self.text = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_written_as_rfc_9110_writes_it() {
        let mut today = Today::default();
        assert_eq!(today.text(UnixSeconds(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(today.text(UnixSeconds(784_111_777)), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(today.text(UnixSeconds(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
