//! What a user gives to read: a file, a FIFO, a terminal, standard input; line by line in bounded memory.
//!
//! Reading waits, so it belongs on a thread of its own. A thread that waits for a terminal or a FIFO cannot be woken;
//! it ends with the process.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};

use crate::fs::FsError;

const BUFFER_BYTES: usize = 64 * 1024;

/// Something to read that the user named. Unlike a file below a [`crate::Root`] it may be of any kind but a folder.
#[derive(Debug)]
pub struct Input {
    file: File,
    label: PathBuf,
    bytes_total: Option<u64>,
}

impl Input {
    /// Opens the file, FIFO or device at `path`. Opening a FIFO waits for its writer.
    pub fn open(path: &Path) -> Result<Self, FsError> {
        Input::open_as(path, path)
    }

    /// What is at `path`, called `label` in messages.
    pub(crate) fn open_as(path: &Path, label: &Path) -> Result<Self, FsError> {
        let fail = |source| FsError::of("open", label.to_owned(), source);
        Input::of_any(File::open(path).map_err(fail)?, label.to_owned())
    }

    /// Standard input, unbuffered: bytes that something else in this process has buffered are not seen.
    pub fn standard() -> Result<Self, FsError> {
        let label = PathBuf::from("standard input");
        let handle = io::stdin().as_fd().try_clone_to_owned();
        let file = handle.map_err(|source| FsError::of("open", label.clone(), source))?;
        Input::of_any(file.into(), label)
    }

    pub(crate) fn of_regular(file: File, label: PathBuf, bytes_total: u64) -> Self {
        Input { file, label, bytes_total: Some(bytes_total) }
    }

    fn of_any(file: File, label: PathBuf) -> Result<Self, FsError> {
        let metadata = file.metadata().map_err(|source| FsError::of("open", label.clone(), source))?;
        if metadata.is_dir() {
            return Err(FsError::NotAFile { path: label, kind: "folder" });
        }
        let bytes_total = metadata.is_file().then_some(metadata.len());
        Ok(Input { file, label, bytes_total })
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FsError> {
        loop {
            match self.file.read(buffer) {
                Ok(len) => return Ok(len),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever shares a terminal or a pipe with us may have made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                Err(source) => return Err(FsError::of("read", self.label.clone(), source)),
            }
        }
    }

    fn wait(&self) -> Result<(), FsError> {
        let mut ready = [PollFd::new(&self.file, PollFlags::IN)];
        match rustix::event::poll(&mut ready, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(FsError::of("read", self.label.clone(), errno.into())),
        }
    }
}

/// One line without its end, which is LF, CRLF, or the end of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The bytes of the line; not necessarily UTF-8.
    Whole(Vec<u8>),
    /// A line over the bound. It was skipped.
    TooLong {
        /// How long it was.
        bytes: u64,
    },
}

/// The lines of an input. Holds at most one line and one buffer in memory, however long the lines are.
#[derive(Debug)]
pub struct Lines {
    input: Input,
    line_bytes_max: usize,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    bytes_read: u64,
}

impl Lines {
    /// Lines of at most `line_bytes_max` bytes, their ends not counted.
    pub fn new(input: Input, line_bytes_max: usize) -> Self {
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        Lines { input, line_bytes_max, buffer, start: 0, end: 0, bytes_read: 0 }
    }

    /// Waits for the next line; none at the end of the input. An error loses the line it interrupts.
    pub fn next_line(&mut self) -> Result<Option<Line>, FsError> {
        let mut line = Accumulated { kept: Vec::new(), bytes: 0, last: None };
        // One byte more than the bound, since a final CR is not counted.
        let keep_max = self.line_bytes_max.saturating_add(1);
        loop {
            if self.start == self.end {
                (self.start, self.end) = (0, self.input.read(&mut self.buffer)?);
            }
            let available = &self.buffer[self.start..self.end];
            if available.is_empty() {
                let finished = (line.bytes > 0).then(|| line.finish(End::Input, self.line_bytes_max));
                return Ok(finished);
            }
            match available.iter().position(|byte| *byte == b'\n') {
                Some(len) => {
                    line.push(&available[..len], keep_max);
                    self.consume(len + 1);
                    return Ok(Some(line.finish(End::Newline, self.line_bytes_max)));
                }
                None => {
                    let len = available.len();
                    line.push(available, keep_max);
                    self.consume(len);
                }
            }
        }
    }

    /// Bytes of the lines handed out so far, their ends included.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The size of the input when it was opened, if it is a regular file.
    pub fn bytes_total(&self) -> Option<u64> {
        self.input.bytes_total
    }

    fn consume(&mut self, len: usize) {
        self.start += len;
        self.bytes_read += len as u64;
    }
}

/// What has been seen of one line.
struct Accumulated {
    kept: Vec<u8>,
    bytes: u64,
    last: Option<u8>,
}

#[derive(Clone, Copy)]
enum End {
    Newline,
    Input,
}

impl Accumulated {
    fn push(&mut self, part: &[u8], keep_max: usize) {
        let room = keep_max - self.kept.len();
        self.kept.extend_from_slice(&part[..part.len().min(room)]);
        self.bytes += part.len() as u64;
        self.last = part.last().copied().or(self.last);
    }

    fn finish(mut self, end: End, line_bytes_max: usize) -> Line {
        let carriage_return = match end {
            End::Newline => self.last == Some(b'\r'),
            // Without a newline after it a CR is a byte like others.
            End::Input => false,
        };
        let bytes = self.bytes - u64::from(carriage_return);
        if bytes > line_bytes_max as u64 {
            return Line::TooLong { bytes };
        }
        self.kept.truncate(self.kept.len() - usize::from(carriage_return));
        Line::Whole(self.kept)
    }
}
