//! Everything that will go wrong with one request, settled when its head is there.

use std::time::Duration;

use super::injection::{End, ErrorAnswer, Injection, Way};
use super::passage::{Passage, Stop};
use crate::chance::Coin;

/// What happens instead of asking the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    /// The connection is reset, the body unread.
    Reset,
    /// The body is taken, then the connection ends.
    DieBeforeCommit(End),
    /// This error is answered.
    Answer(ErrorAnswer),
    /// `200`, so many spaces, each after such a pause, then this error.
    ErrorInsideOk(ErrorAnswer, u16, Duration),
}

/// What becomes of the store's reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyFate {
    /// It goes to the client.
    #[default]
    Passes,
    /// It never does; the connection stands.
    Hangs,
    /// It never does; the connection ends.
    Dropped(End),
}

/// One request's course. The default is that nothing goes wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// Where the store is not asked.
    pub instead: Option<Instead>,
    /// The request's body.
    pub upload: Passage,
    /// How long the reply's head is held back.
    pub delay: Duration,
    /// The reply as a whole.
    pub reply: ReplyFate,
    /// The reply's body.
    pub download: Passage,
}

impl Course {
    /// Adds a wrong. Delays add up; of two that exclude each other the later holds; of two ends of a
    /// body the one that comes first.
    pub(super) fn suffer(&mut self, injection: &Injection, coin: &mut Coin) {
        match injection {
            Injection::Delay { by_ms, jitter_ms } => {
                #[expect(
                    clippy::cast_precision_loss,
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a share of some milliseconds; a cast from f64 saturates"
                )]
                let more = (*jitter_ms as f64 * coin.share()) as u64;
                self.delay += Duration::from_millis(by_ms.saturating_add(more));
            }
            Injection::Rate { bytes_per_second, way } => {
                self.way(*way).bytes_per_second = Some(*bytes_per_second);
            }
            Injection::Slice { bytes, pause_ms, way } => {
                self.way(*way).slice = Some((*bytes, Duration::from_millis(*pause_ms)));
            }
            Injection::Cut { place, end, way } => self.stop(*way, place.draw(coin), Stop::End(*end)),
            Injection::HangInBody { place, way } => self.stop(*way, place.draw(coin), Stop::Hang),
            Injection::HalfClose { place } => self.stop(Way::Download, place.draw(coin), Stop::HalfClose),
            Injection::Corrupt { place, way } => self.way(*way).turn = Some(place.draw(coin)),
            Injection::Reset => self.instead = Some(Instead::Reset),
            Injection::HangBeforeHead => self.reply = ReplyFate::Hangs,
            Injection::Answer { error } => self.instead = Some(Instead::Answer(error.clone())),
            Injection::ErrorInsideOk { error, spaces, pause_ms } => {
                let pause = Duration::from_millis(*pause_ms);
                self.instead = Some(Instead::ErrorInsideOk(error.clone(), *spaces, pause));
            }
            Injection::DieBeforeCommit { end } => self.instead = Some(Instead::DieBeforeCommit(*end)),
            Injection::DropReply { end } => self.reply = ReplyFate::Dropped(*end),
        }
    }

    fn way(&mut self, way: Way) -> &mut Passage {
        match way {
            Way::Upload => &mut self.upload,
            Way::Download => &mut self.download,
        }
    }

    fn stop(&mut self, way: Way, at: u64, stop: Stop) {
        let passage = self.way(way);
        if passage.stop.is_none_or(|(earlier, _)| at < earlier) {
            passage.stop = Some((at, stop));
        }
    }
}
