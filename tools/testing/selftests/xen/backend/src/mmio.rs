// SPDX-License-Identifier: GPL-2.0

//! The registers of a virtio-mmio device with one queue.

use virtio_bindings::{
    virtio_config::{
        VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
        VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_VERSION_1,
    },
    virtio_ids::VIRTIO_ID_BLOCK,
    virtio_mmio::*,
    virtio_ring::VIRTIO_RING_F_EVENT_IDX,
};
use virtio_queue::{Queue, QueueState, QueueT};

const MAGIC: u32 = u32::from_le_bytes(*b"virt");
const VERSION: u32 = 2;
const QUEUE_SIZE: u16 = 128;
/// What every driver has to accept: a grant is no address of the guest's memory.
const NEEDED: u64 = 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_F_ACCESS_PLATFORM;

/// What the guest's write to a register asks for.
#[derive(PartialEq)]
pub enum Event {
    Nothing,
    /// There are requests.
    Notify,
    /// The driver has set the device up.
    Ready,
    /// All of the guest's memory has to be let go.
    Reset,
}

pub struct Registers {
    pub queue: Queue,
    features: u64,
    driver_features: u64,
    device_half: u32,
    driver_half: u32,
    status: u32,
    interrupt: u32,
    config: Vec<u8>,
}

impl Registers {
    pub fn new(features: u64, config: Vec<u8>) -> Self {
        Self {
            queue: Queue::new(QUEUE_SIZE).expect("a power of two"),
            features: features | NEEDED | 1 << VIRTIO_RING_F_EVENT_IDX,
            driver_features: 0,
            device_half: 0,
            driver_half: 0,
            status: 0,
            interrupt: 0,
            config,
        }
    }

    pub fn read(&self, offset: u32, size: usize) -> u64 {
        if let Some(at) = offset.checked_sub(VIRTIO_MMIO_CONFIG) {
            let bytes = self.config.iter().skip(at as usize).take(size);
            return bytes
                .rev()
                .fold(0, |value, byte| value << 8 | u64::from(*byte));
        }
        u64::from(match offset {
            VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            VIRTIO_MMIO_VERSION => VERSION,
            VIRTIO_MMIO_DEVICE_ID => VIRTIO_ID_BLOCK,
            VIRTIO_MMIO_DEVICE_FEATURES => half(self.features, self.device_half),
            VIRTIO_MMIO_QUEUE_NUM_MAX => u32::from(self.queue.max_size()),
            VIRTIO_MMIO_QUEUE_READY => u32::from(self.queue.ready()),
            VIRTIO_MMIO_INTERRUPT_STATUS => self.interrupt,
            VIRTIO_MMIO_STATUS => self.status,
            _ => 0,
        })
    }

    pub fn write(&mut self, offset: u32, value: u32) -> Event {
        let queue = &mut self.queue;
        match offset {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => self.device_half = value,
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => self.driver_half = value,
            VIRTIO_MMIO_DRIVER_FEATURES => self.accept(value),
            VIRTIO_MMIO_QUEUE_NUM => queue.set_size(value.try_into().unwrap_or(0)),
            VIRTIO_MMIO_QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_AVAIL_LOW => queue.set_avail_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_AVAIL_HIGH => queue.set_avail_ring_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_USED_LOW => queue.set_used_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_USED_HIGH => queue.set_used_ring_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_READY => queue.set_ready(value == 1),
            VIRTIO_MMIO_INTERRUPT_ACK => self.interrupt &= !value,
            VIRTIO_MMIO_QUEUE_NOTIFY => return Event::Notify,
            VIRTIO_MMIO_STATUS => return self.set_status(value),
            _ => {}
        }
        Event::Nothing
    }

    fn accept(&mut self, value: u32) {
        let shift = 32 * u64::from(self.driver_half & 1);
        self.driver_features &= !(0xffff_ffff << shift);
        self.driver_features |= u64::from(value) << shift;
    }

    fn set_status(&mut self, value: u32) -> Event {
        if value == 0 {
            let config = std::mem::take(&mut self.config);
            *self = Self::new(self.features, config);
            return Event::Reset;
        }
        let event_idx = self.driver_features & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
        self.queue.set_event_idx(event_idx);
        self.status = value;
        if self.driver_features & !self.features != 0 || self.driver_features & NEEDED != NEEDED {
            self.status &= !VIRTIO_CONFIG_S_FEATURES_OK;
        }
        if self.status & VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            return Event::Ready;
        }
        Event::Nothing
    }

    /// From where to where the parts of the queue are in the guest's memory.
    pub fn rings(&self) -> (u64, u64) {
        let queue = self.queue.state();
        let size = u64::from(queue.size);
        let parts = [
            (queue.desc_table, 16 * size),
            (queue.avail_ring, 6 + 2 * size),
            (queue.used_ring, 6 + 8 * size),
        ];
        let start = parts.map(|(start, _)| start).into_iter().min();
        let end = parts.map(|(start, len)| start.saturating_add(len));
        (start.unwrap_or(0), end.into_iter().max().unwrap_or(0))
    }

    /// The device cannot go on.
    pub fn fail(&mut self) {
        self.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        self.queue.set_ready(false);
        self.interrupt |= VIRTIO_MMIO_INT_CONFIG;
    }

    /// Requests were completed.
    pub fn completed(&mut self) {
        self.interrupt |= VIRTIO_MMIO_INT_VRING;
    }

    /// What a backend that comes after this one has to know.
    pub fn save(&self) -> Vec<u64> {
        let queue = self.queue.state();
        vec![
            self.driver_features,
            u64::from(self.status),
            u64::from(queue.size),
            queue.desc_table,
            queue.avail_ring,
            queue.used_ring,
        ]
    }

    /// Takes over from the backend that was there before; the queue begins at its start.
    pub fn restore(&mut self, saved: &[u64]) -> Option<()> {
        let &[driver_features, status, size, desc_table, avail_ring, used_ring] = saved else {
            return None;
        };
        let state = QueueState {
            max_size: QUEUE_SIZE,
            event_idx_enabled: driver_features & 1 << VIRTIO_RING_F_EVENT_IDX != 0,
            size: size.try_into().ok()?,
            ready: true,
            desc_table,
            avail_ring,
            used_ring,
            ..Default::default()
        };
        self.queue = state.try_into().ok()?;
        self.driver_features = driver_features;
        self.status = status.try_into().ok()?;
        Some(())
    }
}

fn half(features: u64, which: u32) -> u32 {
    match which {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}
