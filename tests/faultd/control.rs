//! The control port: one JSON document a line, one line in answer.
//!
//! `{"do": "arm", "fault": {...}, "scope": {...}, "for_ms": 1000}` → `{"id": 1}`;
//! `{"do": "lift", "id": 1}` → `{"hits": 3}`; `{"do": "hits", "id": 1}` → `{"hits": 3}`;
//! `{"do": "clear"}`, `{"do": "hang_up"}` (resets every connection) → `{}`; a fault in what was asked → `{"error": "…"}`.

use std::io;
use std::time::Duration;

use nearpoint::faults::{FaultId, Injection, Scope};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::relay::Desk;

/// A command is no longer than this.
const LINE_MAX: u64 = 64 << 10;

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Order {
    Arm {
        fault: Box<Injection>,
        #[serde(default)]
        scope: Box<Scope>,
        for_ms: Option<u64>,
    },
    Lift {
        id: u64,
    },
    Hits {
        id: u64,
    },
    Clear,
    HangUp,
}

/// Serves one controller after the other.
pub async fn serve(listener: TcpListener, desk: Desk) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        // a controller that went away leaves the faults as they are
        talk(stream, &desk).await.unwrap_or_default();
    }
}

async fn talk(stream: TcpStream, desk: &Desk) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = String::new();
        if (&mut reader).take(LINE_MAX).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let answer = match serde_json::from_str(&line) {
            Ok(order) => obey(order, desk),
            Err(fault) => json!({"error": fault.to_string()}),
        };
        writer.write_all(format!("{answer}\n").as_bytes()).await?;
    }
}

fn obey(order: Order, desk: &Desk) -> Value {
    match order {
        Order::Arm { fault, scope, for_ms } => {
            let until = for_ms.map(|ms| desk.now() + Duration::from_millis(ms));
            match desk.faults(|faults| faults.arm(*fault, *scope, until)) {
                Ok(FaultId(id)) => json!({"id": id}),
                Err(fault) => json!({"error": fault.to_string()}),
            }
        }
        Order::Lift { id } => json!({"hits": desk.faults(|faults| faults.lift(FaultId(id)))}),
        Order::Hits { id } => json!({"hits": desk.faults(|faults| faults.hits(FaultId(id)))}),
        Order::Clear => {
            desk.faults(nearpoint::faults::Faults::clear);
            json!({})
        }
        Order::HangUp => {
            desk.hang_up();
            json!({})
        }
    }
}
