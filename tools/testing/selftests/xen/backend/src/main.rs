// SPDX-License-Identifier: GPL-2.0

//! A backend for virtio-blk in dom0, which reaches the guest's memory by grants alone.
//!
//! It stands in for a disk of a domain that Xen started by itself: there is no toolstack that would
//! tell what belongs together, so the command line does.
//!
//! `virtio_blk_backend DOMID ADDRESS IRQ FILE STATE [FAULT]`
//!
//! In the file STATE is what the next backend of that device needs when this one was killed. With
//! FAULT it misbehaves.

mod backend;
mod block;
mod fault;
mod memory;
mod mmio;
mod xen;

use std::{env, fs, io, process::ExitCode};

use backend::Backend;
use block::Disk;
use fault::Fault;
use xen::IoreqServer;

/// The size of the window of a virtio-mmio device.
const WINDOW: u64 = 0x200;

/// The numbers in a file of state: those of the ioreq server, and of the device if it is set up.
fn load(path: &str) -> Option<Vec<u64>> {
    let text = fs::read_to_string(path).ok()?;
    text.split_whitespace()
        .map(|word| word.parse().ok())
        .collect()
}

fn store(path: &str, id: u16, device: &[u64]) -> io::Result<()> {
    let mut text = id.to_string();
    for number in device {
        text += &format!(" {number}");
    }
    // There is a whole one at any time.
    let new = format!("{path}.new");
    fs::write(&new, text)?;
    fs::rename(&new, path)
}

fn run(args: &[&str]) -> io::Result<()> {
    let usage = || io::Error::other("wrong arguments");
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).map_err(|_| usage()),
        None => text.parse().map_err(|_| usage()),
    };
    let [domid, address, irq, file, state, rest @ ..] = args else {
        return Err(usage());
    };
    let domid = number(domid)? as u16;
    let address = number(address)?;
    let irq = number(irq)? as u32;
    let fault = match rest {
        [] => None,
        [name] => Some(Fault::named(name).ok_or_else(usage)?),
        _ => return Err(usage()),
    };
    let mut backend = Backend::new(domid, Disk::open(file)?, fault)?;

    let saved = load(state);
    let left = saved
        .as_ref()
        .and_then(|saved| saved.first())
        .map(|id| *id as u16);
    let mut server = IoreqServer::new(domid, (address, address + WINDOW - 1), left)?;
    if let Some([_, device @ ..]) = saved.as_deref() {
        if !device.is_empty() {
            backend
                .restore(device)
                .ok_or_else(|| io::Error::other("bad state"))?;
            // It may have ended between a completion and its interrupt.
            backend.registers.completed();
            server.raise(irq)?;
        }
    } else {
        store(state, server.id(), &[])?;
    }
    println!("serves");

    loop {
        while let Some(access) = server.access() {
            let offset = (access.addr - address) as u32;
            let was_ready = backend.is_ready();
            let answer = backend.access(offset, access.size, access.value);
            if was_ready != backend.is_ready() {
                let device = if was_ready {
                    vec![]
                } else {
                    backend.registers.save()
                };
                store(state, server.id(), &device)?;
            }
            server.answer(answer)?;
        }
        match backend.serve() {
            Ok(false) => {}
            Ok(true) => {
                backend.registers.completed();
                server.raise(irq)?;
            }
            // What the guest has in its memory makes no sense.
            Err(error) => {
                eprintln!("virtio_blk_backend: {error}");
                backend.registers.fail();
                server.raise(irq)?;
            }
        }
        server.wait()?;
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("virtio_blk_backend: {error}");
            ExitCode::FAILURE
        }
    }
}
