//! Storage and Verification SCP: the listener, its limits, and one thread for each association.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dicom_ul::pdu::{AbortRQServiceProviderReason, AbortRQSource};
use sulcus_config::Site;
use thiserror::Error;

use super::association::{self, Admission, NotAccepted};
use super::message::{Budget, Limits, MAX_PDU, Messages, PDU_CEILING, PDU_FLOOR};
use super::service::{End, Service};
use super::sources::SourceRule;
use super::wire::{Patience, Wire, WireError};
use crate::inbox::Inbox;

/// How often the listener looks at the stop flag.
const ACCEPT_TICK: Duration = Duration::from_millis(200);
/// Callers told at one time that all places are taken; further ones are just disconnected.
const MAX_TURNED_AWAY: usize = 16;

/// Settings of the SCP. Every limit is here.
#[derive(Clone, Debug)]
pub struct ScpOptions {
    /// Address to listen on, `host:port`; port 0 takes a free one.
    pub address: String,
    /// Our AE title: what callers must call.
    pub ae_title: String,
    /// Who may call. The first rule that matches counts; without one the caller is rejected.
    pub sources: Vec<SourceRule>,
    /// Archives that may call to report storage commitments, and for nothing else.
    pub reporters: Vec<SourceRule>,
    /// Associations at one time.
    pub max_associations: usize,
    /// Longest P-DATA PDU we announce, in bytes.
    pub max_pdu: u32,
    /// Longest data set; longer ones are answered 0xA700.
    pub max_object_bytes: u64,
    /// Bytes of all data sets being received or stored at one time; beyond it, 0xA700.
    pub max_bytes_in_flight: u64,
    /// For a caller to send its association request (PS3.8's ARTIM timer).
    pub negotiation_timeout: Duration,
    /// Between two messages of an association.
    pub idle_timeout: Duration,
    /// Without a byte inside a message.
    pub silence_timeout: Duration,
    /// For a whole message.
    pub message_timeout: Duration,
}

impl ScpOptions {
    /// Defaults for a site: 64 associations, PDUs of 131072 bytes, objects up to 1 GiB, 2 GiB in flight.
    pub fn new(address: &str, ae_title: &str, sources: Vec<SourceRule>) -> ScpOptions {
        ScpOptions {
            address: address.to_owned(),
            ae_title: ae_title.to_owned(),
            sources,
            reporters: Vec::new(),
            max_associations: 64,
            max_pdu: MAX_PDU,
            max_object_bytes: 1 << 30,
            max_bytes_in_flight: 2 << 30,
            negotiation_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(300),
            silence_timeout: Duration::from_secs(60),
            message_timeout: Duration::from_secs(600),
        }
    }

    /// The settings of a site's `[receiver]` and `[[source]]` entries, with the defaults of [`ScpOptions::new`] for what a
    /// site does not set.
    pub fn of_site(site: &Site) -> ScpOptions {
        let receiver = &site.receiver;
        let max_object_bytes = u64::from(receiver.max_object_mib) << 20;
        let mut options =
            ScpOptions::new(&receiver.address.to_string(), &receiver.ae_title, SourceRule::of_site(&site.sources));
        options.reporters = SourceRule::reporters(&site.destinations);
        options.max_associations = usize::from(receiver.max_associations);
        options.max_pdu = receiver.max_pdu;
        options.max_object_bytes = max_object_bytes;
        // Room for the largest object twice, whatever the site takes.
        options.max_bytes_in_flight = options.max_bytes_in_flight.max(max_object_bytes.saturating_mul(2));
        options.idle_timeout = receiver.idle_seconds.duration();
        options
    }
}

/// Why the SCP cannot listen.
#[derive(Debug, Error)]
pub enum ScpError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}, check that it is this machine's and that the port is free")]
    Bind {
        /// As configured.
        address: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// A bound SCP.
pub struct Scp {
    options: ScpOptions,
    inbox: Arc<dyn Inbox>,
    listener: TcpListener,
    local_addr: SocketAddr,
    budget: Arc<Budget>,
    open: AtomicUsize,
    turned_away: AtomicUsize,
}

/// A place among those counted by `counter`, given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(counter: &'a AtomicUsize, limit: usize) -> Option<Place<'a>> {
        let taken = counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < limit).then_some(n + 1));
        taken.ok().map(|_| Place(counter))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Scp {
    /// Listens. Connections wait until [`Scp::run`].
    pub fn bind(options: ScpOptions, inbox: Arc<dyn Inbox>) -> Result<Scp, ScpError> {
        let error = |source| ScpError::Bind { address: options.address.clone(), source };
        let addresses: Vec<SocketAddr> = options.address.to_socket_addrs().map_err(error)?.collect();
        let listener = TcpListener::bind(addresses.as_slice()).map_err(error)?;
        let local_addr = listener.local_addr().map_err(error)?;
        // The receive timeout of a listening socket bounds `accept`, and a cloned descriptor shares it. So the listener sees
        // the stop flag without a second connection, polling or `unsafe`.
        let descriptor = OwnedFd::from(listener.try_clone().map_err(error)?);
        TcpStream::from(descriptor).set_read_timeout(Some(ACCEPT_TICK)).map_err(error)?;
        let budget = Budget::new(options.max_bytes_in_flight);
        let (open, turned_away) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Ok(Scp { options, inbox, listener, local_addr, budget, open, turned_away })
    }

    /// The address listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Associations open now.
    pub fn open_associations(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Serves until `stop` is set, then ends: a message being received is finished and answered, idle associations are
    /// aborted. What was answered is kept, what was not the senders send again.
    pub fn run(&self, stop: &Arc<AtomicBool>) {
        thread::scope(|scope| {
            while !stop.load(Ordering::Relaxed) {
                let (stream, peer) = match self.listener.accept() {
                    Ok(connection) => connection,
                    Err(error) => {
                        // Out of descriptors or memory: no hurry, the backlog holds the callers.
                        if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
                        {
                            tracing::warn!(%error, "cannot accept a connection");
                            thread::sleep(ACCEPT_TICK / 4);
                        }
                        continue;
                    }
                };
                let place = Place::take(&self.open, self.options.max_associations);
                let full = place.is_none();
                let Some(place) = place.or_else(|| Place::take(&self.turned_away, MAX_TURNED_AWAY)) else {
                    tracing::warn!(%peer, "disconnected, too many callers");
                    continue;
                };
                let serve = move || {
                    let _place = place;
                    // The last fence: a panic in an inbox is met inside, this one keeps the scope from panicking.
                    if catch_unwind(AssertUnwindSafe(|| self.serve(stream, peer, full, stop))).is_err() {
                        tracing::error!(%peer, "the thread of an association panicked");
                    }
                };
                if let Err(error) = thread::Builder::new().name("association".to_owned()).spawn_scoped(scope, serve) {
                    tracing::error!(%peer, %error, "cannot start a thread, disconnected");
                }
            }
        });
    }

    /// One connection from request to end.
    fn serve(&self, stream: TcpStream, peer: SocketAddr, full: bool, stop: &Arc<AtomicBool>) {
        let options = &self.options;
        let patience = |silence: Duration, total: Duration| Patience { silence: silence.min(total), total };
        let negotiation = patience(options.silence_timeout, options.negotiation_timeout);
        let mut wire = match Wire::new(stream, negotiation, Some(stop.clone())) {
            Ok(wire) => wire,
            Err(error) => return tracing::debug!(%peer, %error, "connection lost"),
        };
        let max_pdu = options.max_pdu.clamp(PDU_FLOOR, PDU_CEILING);
        let (sources, reporters) = (options.sources.as_slice(), options.reporters.as_slice());
        let admission = Admission { ae_title: &options.ae_title, sources, reporters, max_pdu, full };
        let accepted = match association::accept(&mut wire, peer.ip(), &admission) {
            Ok(accepted) => accepted,
            Err(NotAccepted::Rejected { calling_ae_title, reason }) => {
                tracing::warn!(%peer, calling_ae_title = ?calling_ae_title, reason, "association rejected");
                return wire.close();
            }
            Err(NotAccepted::Wire(error)) => {
                tracing::debug!(%peer, %error, "no association came of a connection");
                return match error {
                    WireError::Lost(_) => {}
                    WireError::Protocol { reason, .. } => wire.abort(AbortRQSource::ServiceProvider(reason)),
                    _ => wire.abort(AbortRQSource::ServiceProvider(AbortRQServiceProviderReason::ReasonNotSpecified)),
                };
            }
        };
        let limits = Limits {
            max_pdu,
            max_object_bytes: options.max_object_bytes,
            budget: self.budget.clone(),
            idle: patience(options.idle_timeout, options.idle_timeout),
            message: patience(options.silence_timeout, options.message_timeout),
        };
        let (source, calling) = (accepted.source.clone(), accepted.calling_ae_title.clone());
        tracing::debug!(%peer, source, calling_ae_title = ?calling, "association accepted");
        let started = Instant::now();
        let peer_max_pdu = accepted.peer_max_pdu;
        let mut service = Service::new(accepted, self.inbox.as_ref(), Messages::new(wire, limits, peer_max_pdu));
        let end = catch_unwind(AssertUnwindSafe(|| service.run())).ok();
        // Told before the release is confirmed: a sender that saw the confirmation finds the release known.
        let series = std::mem::take(&mut service.series).into_iter().collect();
        self.inbox.released(&source, series, matches!(end, Some(End::Released)));
        service.finish(end.as_ref());
        let (kept, refused, bytes) = (service.kept, service.refused, service.bytes);
        let seconds = started.elapsed().as_secs_f64();
        match end {
            Some(End::Released) => {
                tracing::info!(%peer, source, calling_ae_title = ?calling, kept, refused, bytes, seconds, "association released");
            }
            Some(end) => {
                tracing::warn!(%peer, source, calling_ae_title = ?calling, kept, refused, bytes, seconds, ?end, "association ended early");
            }
            None => {
                tracing::error!(%peer, source, calling_ae_title = ?calling, kept, refused, "storing panicked, association aborted");
            }
        }
    }
}
