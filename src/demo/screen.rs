//! What the demo shows: a line for each region, redrawn in place on a terminal, else printed when
//! it changes. Pure but for the writer that it is given.

use std::io::{self, Write};
use std::time::Duration;

use crate::names::RegionId;

/// One region's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The region.
    pub id: RegionId,
    /// It listens.
    pub alive: bool,
    /// It answered the last request.
    pub serving: bool,
    /// What the gateway thinks of it for reads.
    pub reads: String,
    /// And for writes.
    pub writes: String,
    /// Measured time to first byte.
    pub latency: Option<Duration>,
    /// Requests answered so far.
    pub served: u64,
}

impl Row {
    fn state(&self) -> &'static str {
        match (self.alive, self.serving) {
            (false, _) => "killed",
            (true, true) => "serving",
            (true, false) => "standing by",
        }
    }

    /// One word, or two (reads/writes) where they differ. A line must fit into 80 columns: one that
    /// wraps cannot be redrawn in place.
    fn standing(&self) -> String {
        if self.reads == self.writes { self.reads.clone() } else { format!("{}/{}", self.reads, self.writes) }
    }

    fn latency(&self) -> String {
        self.latency.map_or_else(|| "–".to_owned(), |time| format!("{} ms", time.as_millis()))
    }

    /// What a change of is worth a line.
    fn gist(&self) -> (&str, &str, &str) {
        (self.state(), &self.reads, &self.writes)
    }
}

/// A region's line: its key, its state, what the gateway thinks of it, how far it is.
#[must_use]
pub fn line(number: usize, row: &Row, colour: bool) -> String {
    let state = format!("{:<12}", row.state());
    let state = match (colour, row.alive, row.serving) {
        (false, ..) => state,
        (true, false, _) => format!("\x1b[31m{state}\x1b[0m"),
        (true, true, true) => format!("\x1b[32m{state}\x1b[0m"),
        (true, true, false) => format!("\x1b[2m{state}\x1b[0m"),
    };
    let (standing, latency) = (row.standing(), row.latency());
    let (id, served) = (row.id.as_str(), row.served);
    format!("  [{number}] {id:<10} {state} {standing:<19} {latency:>7} {served:>8} requests")
}

/// Where rows are shown.
pub struct Screen<'a> {
    out: &'a mut (dyn Write + Send),
    /// Redraws in place.
    live: bool,
    colour: bool,
    last: Vec<Row>,
    /// Lines of rows that stand at the end of the screen.
    drawn: usize,
}

impl<'a> Screen<'a> {
    /// A screen; `live` where the writer is a terminal.
    pub fn new(out: &'a mut (dyn Write + Send), live: bool, colour: bool) -> Self {
        Self { out, live, colour, last: Vec::new(), drawn: 0 }
    }

    /// Prints text above the rows.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.wipe()?;
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Shows the rows: all of them in place, or those that changed since with the time in front.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn show(&mut self, rows: &[Row], since_start: Duration) -> io::Result<()> {
        if self.live {
            if self.drawn > 0 && rows == self.last {
                return Ok(());
            }
            self.wipe()?;
            for (number, row) in (1..).zip(rows) {
                writeln!(self.out, "{}", line(number, row, self.colour))?;
            }
            self.drawn = rows.len();
        } else {
            for (place, row) in rows.iter().enumerate() {
                if self.last.get(place).is_none_or(|last| last.gist() != row.gist()) {
                    let seconds = since_start.as_secs_f64();
                    writeln!(self.out, "{seconds:6.2}s{}", line(place + 1, row, self.colour))?;
                }
            }
        }
        self.last = rows.to_vec();
        self.out.flush()
    }

    /// Takes the rows off the screen.
    fn wipe(&mut self) -> io::Result<()> {
        for _ in 0..std::mem::take(&mut self.drawn) {
            write!(self.out, "\x1b[1A\x1b[2K")?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Screen<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").field("live", &self.live).field("drawn", &self.drawn).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, alive: bool, serving: bool, served: u64) -> Row {
        let (reads, writes) = ("healthy".to_owned(), "healthy".to_owned());
        let latency = Some(Duration::from_micros(2_900));
        Row { id: RegionId::new(id), alive, serving, reads, writes, latency, served }
    }

    fn shown(live: bool, frames: &[Vec<Row>]) -> String {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, live, false);
        for (second, rows) in (1..).zip(frames) {
            screen.show(rows, Duration::from_secs(second)).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn off_a_terminal_only_changes_are_printed_and_never_an_escape() {
        let frames = [
            vec![row("frankfurt", true, true, 1), row("virginia", true, false, 0)],
            vec![row("frankfurt", true, true, 9), row("virginia", true, false, 0)],
            vec![row("frankfurt", false, false, 9), row("virginia", true, true, 2)],
        ];
        let text = shown(false, &frames);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(
            lines[2],
            "  3.00s  [1] frankfurt  killed       healthy                2 ms        9 requests"
        );
        assert!(lines[3].contains("virginia   serving"), "{text}");
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn on_a_terminal_rows_are_redrawn_in_place() {
        let frames =
            [vec![row("a", true, true, 1)], vec![row("a", true, true, 1)], vec![row("a", true, true, 2)]];
        let text = shown(true, &frames);
        assert_eq!(text.matches("\x1b[1A\x1b[2K").count(), 1, "once for the one that changed: {text:?}");
        assert_eq!(text.matches("requests").count(), 2);
    }

    #[test]
    fn the_longest_line_fits_into_80_columns() {
        let mut row = row("singapore", true, false, 9_999_999);
        row.reads = "probation".to_owned();
        row.writes = "probation".to_owned();
        row.latency = Some(Duration::from_millis(1_234));
        assert!(line(3, &row, false).chars().count() < 80);
        row.writes = "suspect".to_owned();
        let text = line(3, &row, false);
        assert!(text.chars().count() < 80 && text.contains("probation/suspect"), "{text}");
    }

    #[test]
    fn colour_is_there_only_where_it_is_welcome() {
        let row = row("a", false, false, 0);
        assert!(!line(1, &row, false).contains('\x1b'));
        assert!(line(1, &row, true).contains("\x1b[31mkilled"));
    }
}
