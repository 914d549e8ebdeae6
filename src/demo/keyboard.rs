//! Single keys from the terminal. A door.

use std::io::{self, Read};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// Keys pressed ahead; more are dropped.
const KEYS_MAX: usize = 16;

/// The keyboard, key by key. Dropping it gives the terminal back as it was.
#[derive(Debug)]
pub(super) struct Keyboard {
    before: Termios,
    keys: mpsc::Receiver<u8>,
}

impl Keyboard {
    /// Takes the terminal at standard input out of line mode; Ctrl-C stays a signal.
    ///
    /// # Errors
    /// Where standard input is no terminal.
    pub(super) fn take() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut single = before.clone();
        single.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        tcsetattr(io::stdin(), OptionalActions::Now, &single)?;
        let (pressed, keys) = mpsc::channel(KEYS_MAX);
        // reading cannot be interrupted: the thread ends with the process or the next key
        std::thread::spawn(move || {
            let mut key = [0];
            while io::stdin().read_exact(&mut key).is_ok() {
                let [byte] = key;
                if let Err(mpsc::error::TrySendError::Closed(_)) = pressed.try_send(byte) {
                    return;
                }
            }
        });
        Ok(Self { before, keys })
    }

    /// The next key.
    pub(super) async fn key(&mut self) -> Option<u8> {
        self.keys.recv().await
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // a terminal that is gone needs no restoring
        tcsetattr(io::stdin(), OptionalActions::Now, &self.before).unwrap_or_default();
    }
}
