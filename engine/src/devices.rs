//! The devices of a site with their inference lanes: which of them takes a run. A run is offered only to devices whose
//! memory holds its model, rather to one that has it ready. What fits none stays to do and is told as a fault, which another
//! configuration cures: nothing of it is recorded.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crossbeam::channel::Sender;
use sulcus_config::{Device as Settings, Site};
use sulcus_models::{device::Provider, need::Need};
use sulcus_operators::{digest::Digest, rows::Fault};

use crate::{
    dispatch::{WorkerProgram, thread_failed},
    failure::Hinted,
    graph::RunToDo,
    hosts::fetch::Fetcher,
    lanes::{
        Cancel, Done, Key, Lane,
        child::Worker,
        infer::Inference,
        models::Models,
        port::{Port, StopFlag},
    },
    residents::Residents,
    standing::open_reader,
};

const MIB: u64 = 1 << 20;
const HINT: &str = "allow more with `memory_mib`, or import the model with `--half` or fewer `--folds`; a study of an earlier \
                    rule gets the pipeline's present model with `applies_to = \"all\"`";

/// What computes on a device, and how much memory models may take there.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    provider: Provider,
    /// Bytes; 0: as much as there is.
    memory: u64,
}

impl Room {
    /// That of a device of a site.
    pub fn of(device: &Settings) -> Self {
        Room { provider: provider(device), memory: u64::from(device.memory_mib) * MIB }
    }

    /// Bytes that models may take; 0: as much as there is.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Bytes that a package's model takes here at the least; 0 where the package does not tell.
    pub fn needed(&self, package: &Path) -> u64 {
        Need::read(package).map_or(0, |need| need.on(self.provider))
    }

    /// True where so many bytes have room.
    pub fn holds(&self, bytes: u64) -> bool {
        self.memory == 0 || bytes <= self.memory
    }

    /// True where a model has room, or nobody can tell.
    pub fn takes(&self, need: Option<Need>) -> bool {
        need.is_none_or(|need| self.holds(need.on(self.provider)))
    }

    /// What is larger goes last; what is not known is the largest.
    fn size(&self) -> u64 {
        self.memory.wrapping_sub(1)
    }
}

/// What computes on a device.
pub fn provider(device: &Settings) -> Provider {
    match device.provider {
        sulcus_config::Provider::Openvino => Provider::OpenVino,
        sulcus_config::Provider::Cpu => Provider::Cpu,
        sulcus_config::Provider::Cuda => Provider::Cuda(device.gpu),
        sulcus_config::Provider::Tensorrt => Provider::TensorRt(device.gpu),
    }
}

/// What a model needs; none while its package cannot be read, or is another.
pub fn need(models: &Models, model: &Digest) -> Option<Need> {
    Need::read(models.folder(model)?).ok().filter(|need| need.model == *model)
}

/// Why a model is not run, where it fits none of the devices.
fn refusal(rooms: &[Room], need: Option<Need>) -> Option<String> {
    let (largest, need) = (rooms.iter().max_by_key(|room| room.size())?, need?);
    if rooms.iter().any(|room| room.takes(Some(need))) {
        return None;
    }
    let (needed, memory) = (need.on(largest.provider).div_ceil(MIB), largest.memory / MIB);
    Some(format!("the model needs at least {needed} MiB, and no device has more than {memory} MiB for it"))
}

fn rooms(site: &Site) -> Vec<Room> {
    site.devices.iter().map(Room::of).collect()
}

/// Checks that the model of each pipeline fits one device at least.
///
/// # Errors
/// The first that fits none.
pub fn check_models(site: &Site) -> Result<(), Hinted> {
    let rooms = rooms(site);
    for pipeline in &site.pipelines {
        for model in pipeline.alone.iter().map(|alone| &alone.model).chain([&pipeline.model]) {
            if let Some(reason) = refusal(&rooms, Need::read(model).ok()) {
                return Err(Hinted::usage(format!("pipeline {}: {reason}", pipeline.name), HINT));
            }
        }
    }
    Ok(())
}

/// The faults of runs to do whose models fit no device of a site.
pub fn faults<'a>(site: &Site, models: &Models, runs: impl Iterator<Item = &'a RunToDo>) -> Vec<Fault> {
    let rooms = rooms(site);
    let mut refusals: BTreeMap<Digest, Option<String>> = BTreeMap::new();
    let fault = |run: &'a RunToDo| {
        let model = run.order.model;
        let reason = refusals.entry(model).or_insert_with(|| refusal(&rooms, need(models, &model))).clone()?;
        Some(Fault { stage: "devices".to_owned(), key: run.order.series_uid.clone(), reason, hint: HINT.to_owned() })
    };
    let faults: BTreeSet<Fault> = runs.filter_map(fault).collect();
    faults.into_iter().collect()
}

struct Device {
    room: Room,
    lane: Lane<RunToDo>,
    /// The run that it has in hand.
    job: Option<Digest>,
    /// What its worker has ready, as far as that follows from what it was given.
    residents: Residents<()>,
}

/// The devices of a site.
pub struct Devices {
    devices: Vec<Device>,
    models: Models,
    /// What models need, as far as their packages told.
    needs: BTreeMap<Digest, Need>,
    /// Models that fit no device, of which the log has told.
    refused: BTreeSet<Digest>,
}

impl Devices {
    /// Starts a worker and a lane for each device of a site.
    ///
    /// # Errors
    /// Where one cannot be started.
    pub fn start(
        site: &Site,
        models: &Models,
        program: &WorkerProgram,
        stop: &StopFlag,
        done: &Sender<Done>,
    ) -> Result<Self, Hinted> {
        let mut devices = Vec::new();
        for settings in &site.devices {
            let (room, data) = (Room::of(settings), &site.site.data);
            let mut worker = Worker::new(program.command(Some(&settings.name)));
            if let Err(error) = worker.warm() {
                let reason = format!("the worker process cannot be started: {error}");
                return Err(Hinted::work(reason, "check the installation"));
            }
            let fetcher = Fetcher::of(site, &settings.name);
            // What a run left whose engine was stopped.
            fetcher.clear();
            let mut inference = Inference {
                device: settings.name.clone(),
                room,
                models: models.clone(),
                worker,
                reader: open_reader(data)?,
                port: Port::new(data, stop.clone()),
                fetcher,
            };
            let lane =
                Lane::start(&format!("infer {}", settings.name), 0, done.clone(), move |job: RunToDo, cancel: &_| {
                    inference.infer(&job, cancel)
                });
            let mut residents = Residents::new(site, room);
            for package in residents.first() {
                residents.put(&package, ());
            }
            devices.push(Device { room, lane: lane.map_err(thread_failed)?, job: None, residents });
        }
        Ok(Devices { devices, models: models.clone(), needs: BTreeMap::new(), refused: BTreeSet::new() })
    }

    /// Takes note of the runs whose outcome is not known yet. A device that has answered is free only once the graph has
    /// seen its answer.
    pub fn note(&mut self, in_flight: &BTreeSet<Digest>) {
        for device in &mut self.devices {
            device.job = device.job.filter(|run| in_flight.contains(run));
        }
    }

    /// True where a device is free.
    pub fn is_any_free(&self) -> bool {
        self.devices.iter().any(Device::is_free)
    }

    /// Offers a run to the device that suits it best; none where no such device is free, and the run stays to do.
    pub fn offer(&mut self, run: &RunToDo) -> Option<Cancel> {
        let model = run.order.model;
        let need = self.need(&model);
        let package = self.models.folder(&model).unwrap_or(Path::new(""));
        let seat = |device: &Device| Seat {
            free: device.is_free(),
            fits: device.room.takes(need),
            ready: device.residents.holds(package),
            size: device.room.size(),
        };
        let seats: Vec<Seat> = self.devices.iter().map(seat).collect();
        if !seats.iter().any(|seat| seat.fits) && self.refused.insert(model) {
            tracing::error!(model = %package.display(), hint = HINT, "no device has room for a model that runs wait for");
        }
        let device = self.devices.get_mut(choose(&seats)?)?;
        let cancel = device.lane.offer(&Key::Run(run.order.run_key), || run.clone())?;
        device.job = Some(run.order.run_key);
        if device.residents.take(package).is_none() {
            device.residents.make_room(package);
        }
        device.residents.put(package, ());
        Some(cancel)
    }

    /// A package that cannot be read now is looked at again with the next run.
    fn need(&mut self, model: &Digest) -> Option<Need> {
        if !self.needs.contains_key(model) {
            self.needs.extend(need(&self.models, model).map(|need| (*model, need)));
        }
        self.needs.get(model).copied()
    }
}

impl Device {
    fn is_free(&self) -> bool {
        self.job.is_none() && self.lane.has_room()
    }
}

/// A device as a run sees it.
#[derive(Clone, Copy, Debug)]
struct Seat {
    free: bool,
    fits: bool,
    /// Its worker has the model ready.
    ready: bool,
    size: u64,
}

/// Which device takes a run: one that is free and fits, rather one that has the model ready, then the smallest, so that the
/// larger are free for larger models.
fn choose(seats: &[Seat]) -> Option<usize> {
    let suitable = seats.iter().enumerate().filter(|(_, seat)| seat.free && seat.fits);
    suitable.min_by_key(|(at, seat)| (!seat.ready, seat.size, *at)).map(|(at, _)| at)
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
