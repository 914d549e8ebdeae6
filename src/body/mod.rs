//! Room: bodies on their way. The client's upload as a shared handle that knows whether it was
//! touched and can be replayed; the region's reply, metered. A door: it polls sockets through
//! hyper, and decides nothing about routing.

pub mod form;
pub mod progress;
pub mod reply;
mod room;
pub mod source;
mod spans;
pub mod upload;
mod working;

pub use reply::Reply;
pub use room::{ReplayRoom, ReplayShare};
pub use source::{BodyFault, Source};
pub use upload::Upload;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_for_replays_is_bounded_and_given_back() {
        let room = ReplayRoom::default();
        let first = room.reserve(60, 100);
        assert!(first.is_some());
        assert!(room.reserve(41, 100).is_none(), "one above the limit");
        let second = room.reserve(40, 100);
        assert!(second.is_some(), "at the limit");
        drop((first, second));
        assert_eq!(room.in_use(), 0);
    }
}
