//! The lane's side of a worker process: started when first needed, asked one order at a time, started anew when it
//! dies. A native crash in a codec or in ONNX Runtime costs one attempt, never the engine.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use super::order::{Failure, Order, Reply};

/// The longest reply line that is read: a run with 65,534 lesions stays below it.
const REPLY_LIMIT: u64 = 64 << 20;

/// How to start a worker.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// The binary `sulcus`.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// A worker process, or the intention to start one.
#[derive(Debug)]
pub struct Worker {
    command: WorkerCommand,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    orders: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Running {
    fn give(&mut self, order: &Order) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders.write_all(&line)?;
        self.orders.flush()
    }
}

impl Worker {
    /// A worker that is started by its first order.
    pub fn new(command: WorkerCommand) -> Self {
        Worker { command, running: None }
    }

    /// Starts the process if it is not running, so that its first order need not wait for a model to load.
    pub fn warm(&mut self) -> std::io::Result<()> {
        self.running().map(|_| ())
    }

    /// Carries out one order. Blocks until its last reply. `progress` is told how many tiles of a run are done of how many,
    /// and says whether the run is still wanted; one that is not is stopped at its next tile. A process that dies is a
    /// passing failure, and the next order starts another.
    ///
    /// # Errors
    /// Where the order failed or was stopped.
    pub fn ask(&mut self, order: &Order, progress: &mut dyn FnMut(usize, usize) -> bool) -> Result<Reply, Failure> {
        let outcome = self.exchange(order, progress);
        if outcome.is_err() {
            self.stop();
        }
        match outcome {
            Ok(Reply::Failed(failure)) => Err(failure),
            Ok(reply) => Ok(reply),
            Err(error) => Err(Failure::crash(
                format!("the worker process ended in the middle of an order: {error}"),
                "it is tried again with a new process; the log holds what the process last said",
            )),
        }
    }

    fn exchange(&mut self, order: &Order, progress: &mut dyn FnMut(usize, usize) -> bool) -> std::io::Result<Reply> {
        let running = self.running()?;
        running.give(order)?;
        let mut stopped = false;
        loop {
            let mut text = Vec::new();
            let read = (&mut running.replies).take(REPLY_LIMIT).read_until(b'\n', &mut text)?;
            if read == 0 {
                let status = running.child.wait()?;
                return Err(std::io::Error::other(status.to_string()));
            }
            match serde_json::from_slice(&text)? {
                Reply::Progress { done, of } => {
                    if !progress(done, of) && !stopped {
                        stopped = true;
                        running.give(&Order::Stop)?;
                    }
                }
                reply => return Ok(reply),
            }
        }
    }

    /// The process. One that died between two orders is replaced: no order is to blame for its end.
    fn running(&mut self) -> std::io::Result<&mut Running> {
        if let Some(running) = &mut self.running
            && running.child.try_wait()?.is_some()
        {
            self.running = None;
        }
        let running = match self.running.take() {
            Some(running) => running,
            None => {
                let mut child = Command::new(&self.command.program)
                    .args(&self.command.arguments)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()?;
                let orders = child.stdin.take().ok_or_else(|| std::io::Error::other("no standard input"))?;
                let replies = child.stdout.take().ok_or_else(|| std::io::Error::other("no standard output"))?;
                Running { child, orders, replies: BufReader::new(replies) }
            }
        };
        Ok(self.running.insert(running))
    }

    fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            // It may have ended already; all that matters is that it is gone and reaped.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}
