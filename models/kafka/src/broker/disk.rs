//! What survives a broker process, and how a process ends.
//!
//! Mirrors `LogManager`, `LogLoader`, `OffsetCheckpointFile`, `CleanShutdownFileHandler` (KIP-966).
//!
//! Simplifications: the metadata log is read again from the controller after each start, so it is
//! not kept. Recovery takes no virtual time.

use oncesim_types::{BrokerEpoch, Offset, TopicPartition};

use crate::broker::Broker;
use crate::log::PartitionLog;
use crate::replica::Replica;

/// A broker's disk; the default is an empty one.
#[derive(Debug)]
pub struct BrokerDisk {
    /// Logs with their checkpointed high watermark.
    logs: Vec<(TopicPartition, PartitionLog, Offset)>,
    /// The broker epoch in the clean-shutdown file.
    pub(super) clean_shutdown_epoch: BrokerEpoch,
    /// Logs that a power failure shortened, with their new end.
    pub cut: Vec<(TopicPartition, Offset)>,
}

impl Default for BrokerDisk {
    fn default() -> Self {
        BrokerDisk { logs: Vec::new(), clean_shutdown_epoch: BrokerEpoch::NONE, cut: Vec::new() }
    }
}

/// How a broker process ends.
pub enum Crash<'a> {
    /// The process dies; the page cache survives.
    Process,
    /// The process ends in good order: everything is flushed.
    Clean,
    /// The machine loses power. For each log with something unflushed, the function says where in
    /// `lo..=hi` (what is on the platter, and the log's end) it is cut; the answer is rounded down
    /// to a batch boundary.
    Power(&'a mut dyn FnMut(TopicPartition, Offset, Offset) -> Offset),
}

impl std::fmt::Debug for Crash<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Crash::Process => "Process",
            Crash::Clean => "Clean",
            Crash::Power(_) => "Power",
        })
    }
}

impl Broker {
    /// Ends the process; what is left is its disk.
    #[must_use]
    pub fn crash(mut self, mut crash: Crash<'_>) -> BrokerDisk {
        let mut disk = BrokerDisk::default();
        if matches!(crash, Crash::Clean) {
            disk.clean_shutdown_epoch = self.epoch;
        }
        for slot in &mut self.slots {
            let Some(replica) = slot.replica.take() else { continue };
            let Replica { mut log, mut checkpoint, high_watermark, .. } = *replica;
            match &mut crash {
                Crash::Process => {}
                Crash::Clean => {
                    log.close();
                    checkpoint = high_watermark;
                }
                Crash::Power(choose) => {
                    let (lo, hi) = (log.durable(), log.log_end());
                    if lo < hi {
                        let cut = choose(slot.partition, lo, hi).clamp(lo, hi);
                        if log.truncate(log.boundary(cut)) {
                            disk.cut.push((slot.partition, log.log_end()));
                        }
                    }
                }
            }
            disk.logs.push((slot.partition, log, checkpoint));
        }
        disk
    }

    /// Takes over what is on the disk.
    pub(super) fn load(&mut self, disk: BrokerDisk) {
        for (partition, mut log, checkpoint) in disk.logs {
            log.restart();
            if let Some(index) = self.index_of(partition) {
                let replica = Replica::new(partition, log, checkpoint);
                self.slot_mut(index).replica = Some(Box::new(replica));
            }
        }
    }
}
