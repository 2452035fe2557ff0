// SPDX-License-Identifier: GPL-2.0

//! A disk: a file, and the requests to it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    mem::offset_of,
    os::unix::fs::FileExt,
};

use virtio_bindings::virtio_blk::*;
use virtio_queue::{DescriptorChain, Reader, Writer};
use vmm_sys_util::fallocate::{fallocate, FallocateMode};

use crate::memory::Memory;

const SECTOR: u64 = 512;
const BLOCK: u32 = 4096;
/// With the header and the status, as many as fit twice into the queue.
const MAX_SEGMENTS: u32 = 62;
const MAX_DISCARD: u32 = 1 << 16;
pub const FEATURES: u64 = 1 << VIRTIO_BLK_F_SEG_MAX
    | 1 << VIRTIO_BLK_F_BLK_SIZE
    | 1 << VIRTIO_BLK_F_FLUSH
    | 1 << VIRTIO_BLK_F_DISCARD
    | 1 << VIRTIO_BLK_F_WRITE_ZEROES;

pub struct Disk {
    file: File,
    size: u64,
}

impl Disk {
    pub fn open(path: &str) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }

    /// `struct virtio_blk_config`
    pub fn config(&self) -> Vec<u8> {
        let mut config = vec![0; size_of::<virtio_blk_config>()];
        let sectors = self.size / SECTOR;
        let mut set = |at: usize, value: u32| {
            config[at..at + 4].copy_from_slice(&value.to_le_bytes());
        };
        set(0, sectors as u32);
        set(4, (sectors >> 32) as u32);
        set(offset_of!(virtio_blk_config, seg_max), MAX_SEGMENTS);
        set(offset_of!(virtio_blk_config, blk_size), BLOCK);
        for (sectors, segments) in [
            (
                offset_of!(virtio_blk_config, max_discard_sectors),
                offset_of!(virtio_blk_config, max_discard_seg),
            ),
            (
                offset_of!(virtio_blk_config, max_write_zeroes_sectors),
                offset_of!(virtio_blk_config, max_write_zeroes_seg),
            ),
        ] {
            set(sectors, MAX_DISCARD);
            set(segments, 1);
        }
        set(offset_of!(virtio_blk_config, discard_sector_alignment), 8);
        config
    }

    /// Does what a request asks for; returns how many bytes were written to the guest.
    ///
    /// An error is one of the guest's memory: not even a status can be given.
    pub fn execute(&self, memory: &Memory, chain: DescriptorChain<&Memory>) -> io::Result<u32> {
        let mut reader = chain.clone().reader(memory).map_err(io::Error::other)?;
        let mut writer = chain.writer(memory).map_err(io::Error::other)?;
        let room = writer
            .available_bytes()
            .checked_sub(1)
            .ok_or(io::ErrorKind::InvalidData)?;
        let mut status = writer.split_at(room).map_err(io::Error::other)?;
        let result = match self.transfer(&mut reader, &mut writer) {
            Ok(()) => VIRTIO_BLK_S_OK,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => VIRTIO_BLK_S_UNSUPP,
            Err(_) => VIRTIO_BLK_S_IOERR,
        };
        status.write_all(&[result as u8])?;
        Ok((writer.bytes_written() + 1) as u32)
    }

    fn transfer(&self, reader: &mut Reader<'_>, writer: &mut Writer<'_>) -> io::Result<()> {
        let header: [u32; 4] = reader.read_obj()?;
        let [kind, _, low, high] = header.map(u32::from_le);
        let sector = u64::from(high) << 32 | u64::from(low);
        match kind {
            VIRTIO_BLK_T_IN => {
                let (at, len) = self.range(sector, writer.available_bytes() as u64)?;
                let mut data = vec![0; len];
                self.file.read_exact_at(&mut data, at)?;
                writer.write_all(&data)
            }
            VIRTIO_BLK_T_OUT => {
                let (at, len) = self.range(sector, reader.available_bytes() as u64)?;
                let mut data = vec![0; len];
                reader.read_exact(&mut data)?;
                self.file.write_all_at(&data, at)
            }
            VIRTIO_BLK_T_FLUSH => self.file.sync_data(),
            VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES => {
                // `struct virtio_blk_discard_write_zeroes`
                let [low, high, sectors, _]: [u32; 4] = reader.read_obj()?;
                let sector = u64::from(u32::from_le(high)) << 32 | u64::from(u32::from_le(low));
                let bytes = u64::from(u32::from_le(sectors)) * SECTOR;
                let (at, len) = self.range(sector, bytes)?;
                fallocate(&self.file, FallocateMode::PunchHole, true, at, len as u64)?;
                Ok(())
            }
            VIRTIO_BLK_T_GET_ID => writer.write_all(b"grants\0"),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Offset and length in the file, all of which lies in it.
    fn range(&self, sector: u64, len: u64) -> io::Result<(u64, usize)> {
        let at = sector
            .checked_mul(SECTOR)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let end = at.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
        if end > self.size || len % SECTOR != 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok((at, len as usize))
    }
}
