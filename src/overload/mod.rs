//! Room: overload. Who gets one of the places for requests at work, and who is asked to come back.
//! Pure: arithmetic over counts and over time that is handed in.
//!
//! - A place is had at once or not at all. Nothing waits in line, so no request is worked on whose
//!   client has given up, and what a crowd leaves behind when it ends is what is at work: no more
//!   than `limits.in_flight`.
//! - The classes are refused one after the other as places run out: listings, then reads, then
//!   writes ([`Rank`]). What is refused last cost its client most: an upload's body, or all of an
//!   upload's parts.
//! - A client may have a multiple of the places that are free ([`Picture::decide`]): the fewer there
//!   are, the fewer it may have, and whoever has least gets the last ones. So nobody need be counted
//!   or remembered, and clients that want less than a fair share have all of it.
//! - Who has many places gives way while one who has few is refused, whatever either asks for.
//! - Readers that have stopped reading go first: from three quarters on they are worth a look
//!   ([`Picture::pressed_by`]).
//! - Of the bytes that documents hold in memory a client has no more than are left ([`Demand`]).
//!
//! Source: the order is `reliability.md` A4; thresholds that follow what is free are how switches share
//! a buffer among ports (Choudhury and Hahne, "Dynamic queue length thresholds", 1998).

mod bytes;
mod decide;
mod places;
#[cfg(test)]
mod tests;

pub use bytes::{ByteRoom, ByteShare, Demand, Overfull};
pub use decide::{Picture, Rank, Reason, Shed, retry_after};
pub use places::{Asker, Place, Places, Who};
