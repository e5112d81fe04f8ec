//! The line discipline: what happens to bytes between the two ends of a terminal. termios(3), `drivers/tty/n_tty.c`.
//!
//! Pure state: bytes go in at either end, bytes and [`Effects`] come out. It never waits and sends nothing itself.

use std::collections::VecDeque;

use usk_abi::tty::character::*;
use usk_abi::tty::{DEFAULT_CONTROL, DISABLED, InputFlags, LocalFlags, NCCS, OutputFlags, Termios};

use usk_abi::{Errno, Signal};

use crate::Sink;
use crate::file::ring::ByteRing;

/// Bytes of input kept, one of them for a line end (`N_TTY_BUF_SIZE`).
pub const INPUT_SIZE: usize = 4096;
/// Bytes of output that wait for the other end before a writer waits.
pub const OUTPUT_SIZE: usize = 65536;
/// Bytes of output that are kept in any case: each written byte may become eight.
const OUTPUT_LIMIT: usize = 9 * OUTPUT_SIZE;
const TAB_WIDTH: usize = 8;
const BELL: u8 = 7;
const BACKSPACE: u8 = 8;

/// What input did, besides becoming input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Signals for the foreground process group, in order.
    pub signals: Vec<Signal>,
    /// Input and output were thrown away with a signal.
    pub flushed: bool,
    /// Output was stopped (`Some(true)`) or started again (`Some(false)`).
    pub stopped: Option<bool>,
}

/// A byte of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Byte(u8),
    /// The last byte of a line.
    LineEnd(u8),
    /// An end of file: ends a read and is not part of it.
    EndOfFile,
}

/// See the module.
pub struct LineDiscipline {
    settings: Termios,
    input: VecDeque<Cell>,
    /// How many cells belong to lines that are complete; all that may be read in canonical mode.
    complete: usize,
    output: ByteRing,
    /// Column of the cursor, for tabs and erasing.
    column: usize,
    /// Column where the line being typed began.
    line_start: usize,
    is_stopped: bool,
    takes_next_literally: bool,
}

impl Default for LineDiscipline {
    fn default() -> Self {
        Self::new()
    }
}

/// The settings of a new terminal (`tty_std_termios`).
pub fn standard_settings() -> Termios {
    let mut characters = [DISABLED; NCCS];
    for (index, byte) in [
        (VINTR, 0x03),
        (VQUIT, 0x1c),
        (VERASE, 0x7f),
        (VKILL, 0x15),
        (VEOF, 0x04),
        (VMIN, 1),
        (VSTART, 0x11),
        (VSTOP, 0x13),
        (VSUSP, 0x1a),
        (VREPRINT, 0x12),
        (VDISCARD, 0x0f),
        (VWERASE, 0x17),
        (VLNEXT, 0x16),
    ] {
        characters[index] = byte;
    }
    let local = LocalFlags::ISIG
        | LocalFlags::ICANON
        | LocalFlags::ECHO
        | LocalFlags::ECHOE
        | LocalFlags::ECHOK
        | LocalFlags::ECHOCTL
        | LocalFlags::ECHOKE
        | LocalFlags::IEXTEN;
    Termios {
        input: (InputFlags::ICRNL | InputFlags::IXON).bits(),
        output: (OutputFlags::OPOST | OutputFlags::ONLCR).bits(),
        control: DEFAULT_CONTROL,
        local: local.bits(),
        line: 0,
        characters,
    }
}

fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

fn is_utf8_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

impl LineDiscipline {
    /// With standard settings and nothing queued.
    pub fn new() -> Self {
        LineDiscipline {
            settings: standard_settings(),
            input: VecDeque::new(),
            complete: 0,
            output: ByteRing::default(),
            column: 0,
            line_start: 0,
            is_stopped: false,
            takes_next_literally: false,
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Termios {
        &self.settings
    }

    /// Changes the settings. Leaving or entering canonical mode, what has been typed so far can be read at once.
    pub fn set_settings(&mut self, settings: Termios) {
        let was_canonical = self.is_canonical();
        self.settings = settings;
        if was_canonical != self.is_canonical() {
            self.complete = if self.is_canonical() { self.input.len() } else { 0 };
            if self.is_canonical() {
                // What is there ends the line it is in, whatever it is.
                if let Some(last) = self.input.back_mut()
                    && let Cell::Byte(byte) = *last
                {
                    *last = Cell::LineEnd(byte);
                }
            } else {
                self.takes_next_literally = false;
            }
        }
        if !self.has_input(InputFlags::IXON) {
            self.is_stopped = false;
        }
    }

    fn has_input(&self, flag: InputFlags) -> bool {
        self.settings.input & flag.bits() != 0
    }

    fn has_output(&self, flag: OutputFlags) -> bool {
        self.settings.output & OutputFlags::OPOST.bits() != 0 && self.settings.output & flag.bits() != 0
    }

    fn has_local(&self, flag: LocalFlags) -> bool {
        self.settings.local & flag.bits() != 0
    }

    /// True in canonical mode: input comes in lines.
    pub fn is_canonical(&self) -> bool {
        self.has_local(LocalFlags::ICANON)
    }

    /// `VMIN` and `VTIME` (tenths of a second); both 0 in canonical mode.
    pub fn read_limits(&self) -> (usize, u64) {
        if self.is_canonical() {
            return (0, 0);
        }
        (usize::from(self.settings.characters[VMIN]), u64::from(self.settings.characters[VTIME]))
    }

    fn is_character(&self, index: usize, byte: u8) -> bool {
        byte != DISABLED && self.settings.characters[index] == byte
    }

    // Input.

    /// How many bytes of input are taken now. A line that gets too long is taken and lost; complete lines that nobody
    /// reads are not.
    pub fn input_room(&self) -> usize {
        if self.is_canonical() && self.complete == 0 {
            return usize::MAX;
        }
        (INPUT_SIZE - 1).saturating_sub(self.input.len())
    }

    /// Takes bytes that were typed.
    pub fn receive(&mut self, bytes: &[u8]) -> Effects {
        let mut effects = Effects::default();
        for &byte in bytes {
            self.receive_byte(byte, &mut effects);
        }
        effects
    }

    fn receive_byte(&mut self, mut byte: u8, effects: &mut Effects) {
        if self.input.len() == self.complete {
            self.line_start = self.column;
        }
        if self.has_input(InputFlags::ISTRIP) {
            byte &= 0x7f;
        }
        let extended = self.has_local(LocalFlags::IEXTEN);
        if self.has_input(InputFlags::IUCLC) && extended {
            byte = byte.to_ascii_lowercase();
        }
        if self.has_local(LocalFlags::EXTPROC) {
            self.put(Cell::Byte(byte));
            return;
        }
        if std::mem::take(&mut self.takes_next_literally) {
            self.echo_if_wanted(byte);
            self.put(Cell::Byte(byte));
            return;
        }
        if self.has_input(InputFlags::IXON) {
            if self.is_character(VSTART, byte) {
                self.set_stopped(false, effects);
                return;
            }
            if self.is_character(VSTOP, byte) {
                self.set_stopped(true, effects);
                return;
            }
            if self.is_stopped && self.has_input(InputFlags::IXANY) {
                self.set_stopped(false, effects);
            }
        }
        if self.has_local(LocalFlags::ISIG)
            && let Some(signal) = self.signal_of(byte)
        {
            self.receive_signal(byte, signal, effects);
            return;
        }
        match byte {
            b'\r' if self.has_input(InputFlags::IGNCR) => return,
            b'\r' if self.has_input(InputFlags::ICRNL) => byte = b'\n',
            b'\n' if self.has_input(InputFlags::INLCR) => byte = b'\r',
            _ => {}
        }
        if self.is_canonical() && self.receive_canonical(byte, extended) {
            return;
        }
        self.echo_if_wanted(byte);
        if byte == 0xff && self.has_input(InputFlags::PARMRK) {
            self.put(Cell::Byte(byte));
        }
        self.put(Cell::Byte(byte));
    }

    fn signal_of(&self, byte: u8) -> Option<Signal> {
        [(VINTR, Signal::SIGINT), (VQUIT, Signal::SIGQUIT), (VSUSP, Signal::SIGTSTP)]
            .into_iter()
            .find(|(index, _)| self.is_character(*index, byte))
            .map(|(_, signal)| signal)
    }

    fn receive_signal(&mut self, byte: u8, signal: Signal, effects: &mut Effects) {
        if !self.has_local(LocalFlags::NOFLSH) {
            self.flush_input();
            self.flush_output();
            effects.flushed = true;
        }
        if self.has_input(InputFlags::IXON) {
            self.set_stopped(false, effects);
        }
        self.echo_if_wanted(byte);
        effects.signals.push(signal);
    }

    /// Deals with a byte that has a meaning in canonical mode. False if it has none.
    fn receive_canonical(&mut self, byte: u8, extended: bool) -> bool {
        if self.is_character(VERASE, byte) {
            self.erase_character();
        } else if self.is_character(VKILL, byte) {
            self.erase_line();
        } else if extended && self.is_character(VWERASE, byte) {
            self.erase_word();
        } else if extended && self.is_character(VLNEXT, byte) {
            self.takes_next_literally = true;
            if self.has_local(LocalFlags::ECHO) && self.has_local(LocalFlags::ECHOCTL) {
                self.echo_raw(b'^');
                self.echo_raw(BACKSPACE);
            }
        } else if extended && self.has_local(LocalFlags::ECHO) && self.is_character(VREPRINT, byte) {
            self.reprint(byte);
        } else if byte == b'\n' {
            if self.has_local(LocalFlags::ECHO) || self.has_local(LocalFlags::ECHONL) {
                self.echo_raw(b'\n');
            }
            self.end_line(Cell::LineEnd(byte));
        } else if self.is_character(VEOF, byte) {
            self.end_line(Cell::EndOfFile);
        } else if self.is_character(VEOL, byte) || (extended && self.is_character(VEOL2, byte)) {
            self.echo_if_wanted(byte);
            self.end_line(Cell::LineEnd(byte));
        } else {
            return false;
        }
        true
    }

    fn set_stopped(&mut self, stopped: bool, effects: &mut Effects) {
        if self.is_stopped != stopped {
            self.is_stopped = stopped;
            effects.stopped = Some(stopped);
        }
    }

    /// Stops or starts output (`TCXONC`, `TCOOFF` and `TCOON`). True if that changed something.
    pub fn suspend_output(&mut self, stopped: bool) -> bool {
        std::mem::replace(&mut self.is_stopped, stopped) != stopped
    }

    /// True while output is stopped.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    fn put(&mut self, cell: Cell) {
        if self.input.len() < INPUT_SIZE - 1 {
            self.input.push_back(cell);
        } else if self.has_input(InputFlags::IMAXBEL) {
            self.send(&[BELL]);
        }
    }

    fn end_line(&mut self, cell: Cell) {
        // There is always room for the end of a line.
        if self.input.len() >= INPUT_SIZE {
            self.input.pop_back();
        }
        self.input.push_back(cell);
        self.complete = self.input.len();
    }

    /// Takes the last byte of the line being typed.
    fn pop_typed(&mut self) -> Option<u8> {
        if self.input.len() <= self.complete {
            return None;
        }
        match self.input.pop_back()? {
            Cell::Byte(byte) | Cell::LineEnd(byte) => Some(byte),
            Cell::EndOfFile => None,
        }
    }

    fn last_typed(&self) -> Option<u8> {
        if self.input.len() <= self.complete {
            return None;
        }
        match self.input.back()? {
            Cell::Byte(byte) | Cell::LineEnd(byte) => Some(*byte),
            Cell::EndOfFile => None,
        }
    }

    /// Takes the last character: several bytes of one in UTF-8, with `IUTF8`.
    fn pop_character(&mut self) -> Option<u8> {
        let mut byte = self.pop_typed()?;
        while self.has_input(InputFlags::IUTF8) && is_utf8_continuation(byte) {
            byte = self.pop_typed()?;
        }
        Some(byte)
    }

    fn erase_character(&mut self) {
        if let Some(byte) = self.pop_character() {
            self.echo_erasure(byte, VERASE);
        }
    }

    fn erase_word(&mut self) {
        let mut seen_word = false;
        while let Some(byte) = self.last_typed() {
            let in_word = byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
            if seen_word && !in_word {
                break;
            }
            seen_word |= in_word;
            self.pop_character();
            self.echo_erasure(byte, VWERASE);
        }
    }

    fn erase_line(&mut self) {
        let erases_each = self.has_local(LocalFlags::ECHOK)
            && self.has_local(LocalFlags::ECHOKE)
            && self.has_local(LocalFlags::ECHOE);
        if self.has_local(LocalFlags::ECHO) && erases_each {
            while let Some(byte) = self.pop_character() {
                self.echo_erasure(byte, VKILL);
            }
            return;
        }
        self.input.truncate(self.complete);
        if self.has_local(LocalFlags::ECHO) {
            self.echo(self.settings.characters[VKILL]);
            if self.has_local(LocalFlags::ECHOK) {
                self.echo_raw(b'\n');
            }
        }
    }

    fn reprint(&mut self, byte: u8) {
        self.echo(byte);
        self.echo_raw(b'\n');
        let typed: Vec<Cell> = self.input.iter().skip(self.complete).copied().collect();
        for cell in typed {
            if let Cell::Byte(byte) | Cell::LineEnd(byte) = cell {
                self.echo(byte);
            }
        }
    }

    // Echo.

    fn echo_if_wanted(&mut self, byte: u8) {
        if !self.has_local(LocalFlags::ECHO) {
            return;
        }
        if byte == b'\n' { self.echo_raw(byte) } else { self.echo(byte) }
    }

    /// Echoes a byte, control characters as `^X`.
    fn echo(&mut self, byte: u8) {
        if self.has_local(LocalFlags::ECHOCTL) && is_control(byte) && byte != b'\t' {
            self.emit(b'^');
            self.emit(byte ^ 0x40);
        } else {
            self.echo_raw(byte);
        }
    }

    fn echo_raw(&mut self, byte: u8) {
        self.process_output(byte);
    }

    fn echo_erasure(&mut self, erased: u8, by: usize) {
        if !self.has_local(LocalFlags::ECHO) {
            return;
        }
        if !self.has_local(LocalFlags::ECHOE) {
            self.echo(self.settings.characters[if by == VWERASE { VERASE } else { by }]);
            return;
        }
        let width = if erased == b'\t' {
            let target = self.column_of_typed();
            self.column.saturating_sub(target)
        } else if is_control(erased) {
            if self.has_local(LocalFlags::ECHOCTL) { 2 } else { 0 }
        } else {
            1
        };
        for _ in 0..width {
            let sequence: &[u8] = if erased == b'\t' { b"\x08" } else { b"\x08 \x08" };
            sequence.iter().for_each(|byte| self.emit(*byte));
        }
    }

    /// The column where the line being typed ends.
    fn column_of_typed(&self) -> usize {
        let mut column = self.line_start;
        for cell in self.input.iter().skip(self.complete) {
            let (Cell::Byte(byte) | Cell::LineEnd(byte)) = *cell else { continue };
            column += match byte {
                b'\t' => TAB_WIDTH - column % TAB_WIDTH,
                byte if is_control(byte) => 2 * usize::from(self.has_local(LocalFlags::ECHOCTL)),
                byte => usize::from(!(self.has_input(InputFlags::IUTF8) && is_utf8_continuation(byte))),
            };
        }
        column
    }

    // Reading.

    /// Bytes that can be read now (`FIONREAD`).
    pub fn readable(&self) -> usize {
        let cells = if self.is_canonical() { self.complete } else { self.input.len() };
        self.input.iter().take(cells).filter(|cell| **cell != Cell::EndOfFile).count()
    }

    /// True if a read would not wait, given `VMIN` (`for_poll`: as poll(2) sees it).
    pub fn has_readable(&self, for_poll: bool) -> bool {
        if self.is_canonical() {
            return self.complete > 0;
        }
        let (minimum, time) = self.read_limits();
        let enough = if for_poll && time == 0 { minimum.max(1) } else { 1 };
        self.input.len() >= enough
    }

    /// Moves what one read gets to `sink`: up to a line in canonical mode. Returns the bytes.
    pub fn read(&mut self, sink: &mut dyn Sink) -> Result<usize, Errno> {
        let canonical = self.is_canonical();
        let available = if canonical { self.complete } else { self.input.len() };
        let mut bytes = Vec::new();
        let mut cells = 0;
        for cell in self.input.iter().take(available) {
            let full = bytes.len() == sink.remaining();
            match cell {
                // An end of file right behind what was asked for is taken along, as on Linux.
                Cell::EndOfFile if canonical => {
                    cells += 1;
                    break;
                }
                _ if full => break,
                Cell::EndOfFile => {
                    bytes.push(DISABLED);
                    cells += 1;
                }
                Cell::Byte(byte) => {
                    bytes.push(*byte);
                    cells += 1;
                }
                Cell::LineEnd(byte) => {
                    bytes.push(*byte);
                    cells += 1;
                    if canonical {
                        break;
                    }
                }
            }
        }
        let put = sink.put(&bytes)?;
        let taken = if put < bytes.len() { put } else { cells };
        self.input.drain(..taken);
        self.complete = self.complete.saturating_sub(taken);
        Ok(put)
    }

    /// Throws unread input away.
    pub fn flush_input(&mut self) {
        self.input.clear();
        self.complete = 0;
        self.takes_next_literally = false;
    }

    // Output.

    /// Bytes that wait for the other end.
    pub fn output_length(&self) -> usize {
        self.output.len()
    }

    /// How many bytes a writer may write now. (A byte may become several: what waits may exceed [`OUTPUT_SIZE`] by
    /// that.)
    pub fn output_room(&self) -> usize {
        if self.is_stopped { 0 } else { OUTPUT_SIZE.saturating_sub(self.output.len()) }
    }

    /// Takes bytes that a program wrote.
    pub fn write(&mut self, bytes: &[u8]) {
        if self.settings.output & OutputFlags::OPOST.bits() == 0 {
            self.send(bytes);
            return;
        }
        for &byte in bytes {
            self.process_output(byte);
        }
    }

    /// `do_output_char`
    fn process_output(&mut self, byte: u8) {
        if self.settings.output & OutputFlags::OPOST.bits() == 0 {
            self.send(&[byte]);
            return;
        }
        match byte {
            b'\n' => {
                if self.has_output(OutputFlags::ONLRET) {
                    self.column = 0;
                }
                if self.has_output(OutputFlags::ONLCR) {
                    self.column = 0;
                    self.send(b"\r\n");
                } else {
                    self.send(b"\n");
                }
            }
            b'\r' if self.has_output(OutputFlags::ONOCR) && self.column == 0 => {}
            b'\r' if self.has_output(OutputFlags::OCRNL) => {
                if self.has_output(OutputFlags::ONLRET) {
                    self.column = 0;
                }
                self.send(b"\n");
            }
            b'\r' => {
                self.column = 0;
                self.send(b"\r");
            }
            b'\t' => {
                let spaces = TAB_WIDTH - self.column % TAB_WIDTH;
                self.column += spaces;
                if self.settings.output & OutputFlags::XTABS.bits() == OutputFlags::XTABS.bits() {
                    self.send(&[b' '; TAB_WIDTH][..spaces]);
                } else {
                    self.send(b"\t");
                }
            }
            BACKSPACE => {
                self.column = self.column.saturating_sub(1);
                self.send(&[byte]);
            }
            _ => {
                let byte = if self.has_output(OutputFlags::OLCUC) { byte.to_ascii_uppercase() } else { byte };
                let is_half = self.has_input(InputFlags::IUTF8) && is_utf8_continuation(byte);
                if !is_control(byte) && !is_half {
                    self.column += 1;
                }
                self.send(&[byte]);
            }
        }
    }

    /// Emits a byte of an echo as it is.
    fn emit(&mut self, byte: u8) {
        if byte == BACKSPACE {
            self.column = self.column.saturating_sub(1);
        } else if !is_control(byte) {
            self.column += 1;
        }
        self.send(&[byte]);
    }

    /// Queues output. Writers have asked for room; an echo that nobody takes is lost.
    fn send(&mut self, bytes: &[u8]) {
        if self.output.len() + bytes.len() <= OUTPUT_LIMIT {
            self.output.push(bytes);
        }
    }

    /// Moves output to the other end.
    pub fn take_output(&mut self, sink: &mut dyn Sink) -> Result<usize, Errno> {
        self.output.drain_to(sink, usize::MAX)
    }

    /// Throws output away that the other end has not taken.
    pub fn flush_output(&mut self) {
        self.output.clear();
    }
}

#[cfg(test)]
mod tests;
