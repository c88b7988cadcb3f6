//! `airssys up APP`: runs an application until its input ends, somebody stops it, or it gives up.
//!
//! What can be refused is refused before anything is started: the input, the socket, the application's files. From
//! then on every way out passes through the same end: no more lines, the report, the ordered stop, the numbers.

mod outcome;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use airssys_node::airssys_osl::audit::{AuditLog, AuditOptions, Durability};
use airssys_node::airssys_osl::{ControlListener, FilesError, FsError, Gate, Input, Name, Root};
use airssys_node::airssys_wasm::EngineError;
use airssys_node::{
    FeedSummary, Node, NodeOptions, Progress, StartError, StopReport, control, own_policy, own_subject,
};
use clap::Args;
use tokio::task::JoinHandle;

use self::outcome::Outcome;
use self::show::Show;
use super::{audit, grouped, shown, tree};
use crate::error::{CommandError, Kind};
use crate::paths;
use crate::signals::{Reason, Stop};
use crate::ui::Ui;

/// Runs an application until its input ends, Ctrl-C, or `airssys stop`.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// The application's folder, or its airssys.toml.
    app: PathBuf,
    /// Feed the lines of a file, or of standard input with `-`; then report, stop, and end.
    #[arg(short, long, value_name = "FILE|-")]
    input: Option<PathBuf>,
    /// Compile every component anew and keep no compiled code.
    #[arg(long)]
    no_cache: bool,
    /// The folder of the audit log, in which is what the node did with files [default: a folder for this socket in
    /// airssys/audit in $XDG_STATE_HOME or ~/.local/state].
    #[arg(long, value_name = "FOLDER")]
    audit: Option<PathBuf>,
}

/// Components have their own times to stop; this bounds the sum of what they ask for.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the numbers count from.
pub(super) struct Clock {
    /// When the process began.
    started: Instant,
    /// When the first line could be read.
    feeding: Option<Instant>,
}

impl Up {
    pub(crate) async fn run(
        self,
        ui: &Ui,
        socket: Option<&Path>,
        started: Instant,
    ) -> Result<ExitCode, CommandError> {
        let gate = self.gate(socket)?;
        let input = self.input.as_deref().map(|path| open_input(&gate, path)).transpose()?;
        let listener = ControlListener::bind(&paths::socket_to_bind(socket)?)?;
        let stop = Stop::new();
        stop.on_signals({
            let ui = ui.clone();
            move || ui.note("stopping in order; Ctrl-C again ends at once")
        })?;
        let node = tokio::select! {
            node = self.start(ui, gate) => node?,
            () = stop.asked() => return Err(interrupted("interrupted while the application was starting")),
        };
        let mut running = Running::new(node, listener, ui.clone(), stop);
        running.announce(started);
        let mut clock = Clock { started, feeding: None };
        let fed = match input {
            Some(_) if running.node.input().is_none() => {
                running.end().await;
                let message = format!("the application {} takes no input", running.node.name());
                return Err(CommandError::new(Kind::Invalid, message)
                    .hint("name the component that gets the lines in [input] of airssys.toml"));
            }
            Some(input) => {
                clock.feeding = Some(Instant::now());
                running.feed(input).await
            }
            None => {
                running.stop.asked().await;
                None
            }
        };
        running.finish(fed, &clock).await
    }

    fn gate(&self, socket: Option<&Path>) -> Result<Gate, CommandError> {
        let folder = self.audit.clone().unwrap_or_else(|| paths::audit(socket));
        gate(&folder).or_else(|error| {
            // A node that has the log of a socket has the socket, and that is what to speak of.
            ControlListener::bind(&paths::socket_to_bind(socket)?)?;
            Err(error.hint("name another folder for the audit log with --audit FOLDER"))
        })
    }

    async fn start(&self, ui: &Ui, gate: Gate) -> Result<Node, CommandError> {
        let cache = if self.no_cache { None } else { cache(ui) };
        let uses_cache = cache.is_some();
        match Node::start(&self.app, NodeOptions { gate: gate.clone(), cache }).await {
            Err(StartError::Engine(error @ EngineError::Cache(_))) if uses_cache => {
                ui.warn(&unusable_cache(error.into()));
                Ok(Node::start(&self.app, NodeOptions { gate, cache: None }).await?)
            }
            started => Ok(started?),
        }
    }
}

/// What passes this is done on behalf of the user, and recorded in this folder.
pub(super) fn gate(folder: &Path) -> Result<Gate, CommandError> {
    // Not worth waiting for the disk.
    let options = AuditOptions { durability: Durability::Async, ..AuditOptions::default() };
    let log = AuditLog::open(&Root::private(folder)?, options).map_err(audit::log_error)?;
    Ok(Gate::new(own_policy(), log))
}

fn open_input(gate: &Gate, path: &Path) -> Result<Input, FilesError> {
    if path == Path::new("-") {
        return Ok(Input::standard()?);
    }
    let name = Name::parse("input").expect("a word is a name");
    Input::open_by(gate, &own_subject(), &name, path)
}

fn cache(ui: &Ui) -> Option<Root> {
    paths::cache().inspect_err(|error| ui.warn(&unusable_cache(error.clone()))).ok()
}

fn unusable_cache(error: CommandError) -> CommandError {
    let message = "components are compiled anew: compiled code cannot be kept".to_owned();
    let causes = std::iter::once(error.message).chain(error.causes).collect();
    CommandError { message, causes, ..CommandError::new(error.kind, "") }
}

fn interrupted(message: &str) -> CommandError {
    CommandError::new(Kind::Interrupted, message)
}

/// What became of the lines, and whether the input could be read to its end.
type Fed = (FeedSummary, Result<(), FsError>);

/// A started application with everything around it.
struct Running {
    node: Node,
    ui: Ui,
    stop: Stop,
    show: Show,
    server: JoinHandle<()>,
}

impl Running {
    fn new(node: Node, listener: ControlListener, ui: Ui, stop: Stop) -> Self {
        let show = Show::start(ui.clone(), node.watch());
        let on_stop = stop.clone();
        let server = control::serve(node.clone(), listener, move || on_stop.ask(Reason::Asked));
        let server = tokio::spawn(server);
        // When it ends by itself that is a reason to stop like any other.
        let (root, on_end) = (node.clone(), stop.clone());
        tokio::spawn(async move {
            let exit = root.ended().await;
            on_end.ask(Reason::Ended(exit.reason.to_string()));
        });
        Running { node, ui, stop, show, server }
    }

    fn announce(&self, started: Instant) {
        self.ui.note(&format!("{} is up after {}", self.node.name(), shown(started.elapsed())));
        self.ui.note(tree::drawn(&self.node.tree()).trim_end());
    }

    async fn feed(&self, input: Input) -> Option<Fed> {
        let began = Instant::now();
        let progress = |progress: Progress| {
            let message = message(&progress, self.node.restarts(), began.elapsed());
            self.ui.progress(progress.bytes, progress.bytes_total, message);
        };
        let fed = self.node.feed(input, self.stop.subscribe(), progress).await;
        self.ui.end_progress();
        fed
    }

    /// The end of every run: the report while the components still live, the ordered stop, the numbers.
    async fn finish(mut self, fed: Option<Fed>, clock: &Clock) -> Result<ExitCode, CommandError> {
        let mut outcome = Outcome::new(&self.node, clock);
        let read = fed.map(|(summary, read)| {
            outcome.fed(&summary);
            read
        });
        let reported = outcome.report(&self.node).await;
        outcome.count(&self.node);
        // Looked at before the stop below, which ends the application as well.
        let ended = match self.stop.reason() {
            Some(Reason::Ended(why)) => Some(why.clone()),
            Some(Reason::Interrupt | Reason::Asked) | None => None,
        };
        let (stopped, gave_up) = self.end().await;
        outcome.stopped(&stopped);
        // The lines may have ended before the news came that their components had.
        let ended = gave_up.or(ended);

        let failure = match (ended, read) {
            (Some(why), _) => {
                let message = format!("the application {} ended by itself: {why}", self.node.name());
                Some(CommandError::new(Kind::Failed, message).hint(
                    "a supervisor gives up after more restarts than its `intensity` within its `period_s`; \
                     the crashes are above",
                ))
            }
            (None, Some(Err(error))) => Some(error.into()),
            (None, Some(Ok(())) | None) => reported.err(),
        };
        match failure {
            Some(error) => Err(error.data(outcome.into_data())),
            None => {
                let ctrl_c = self.stop.reason() == Some(&Reason::Interrupt);
                let code = if outcome.interrupted() || ctrl_c {
                    Kind::Interrupted.into()
                } else {
                    ExitCode::SUCCESS
                };
                self.ui.done(outcome.into_data(), outcome::text)?;
                Ok(code)
            }
        }
    }

    /// Stops the tree, the display and the control socket, in this order. The text says why the application gave up, if
    /// it did.
    async fn end(&mut self) -> (StopReport, Option<String>) {
        let stopped = self.node.stop(STOP_TIMEOUT).await;
        let gave_up = self.show.end(self.node.name()).await;
        self.server.abort();
        // The socket is gone when the server is. That it was aborted is not news.
        drop((&mut self.server).await);
        (stopped, gave_up)
    }
}

fn message(progress: &Progress, restarts: u64, elapsed: Duration) -> String {
    let Progress { read, accepted, rejected, bytes: _, bytes_total: _ } = *progress;
    let rate = outcome::per_second(read, elapsed);
    format!(
        "{} lines, {}/s, {} accepted, {} rejected, {} restarts",
        grouped(read),
        grouped(rate),
        grouped(accepted),
        grouped(rejected),
        grouped(restarts)
    )
}
