// SPDX-License-Identifier: MIT

//! The channels' benchmark on crossbeam-channel: bounded channels between threads, one for each
//! consumer.  peer_crossbeam p2p|fanout WORKERS [N] prints "ns NANOSECONDS".  With one worker
//! bench/run confines the process to one CPU.

use std::time::Instant;

const SLOTS: usize = 1024;

struct Message {
    w: [u64; 6],
}

fn emit(first: u64, n: u64, consumers: usize) {
    let mut senders = Vec::new();
    let mut threads = Vec::new();
    for _ in 0..consumers {
        let (s, r) = crossbeam_channel::bounded::<Message>(SLOTS);
        senders.push(s);
        threads.push(std::thread::spawn(move || {
            for i in first..first + n {
                assert_eq!(r.recv().unwrap().w[0], i);
            }
        }));
    }
    for i in first..first + n {
        for s in &senders {
            s.send(Message { w: [i, 0, 0, 0, 0, 0] }).unwrap();
        }
    }
    for t in threads {
        t.join().unwrap();
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let consumers = match args.get(1).map(String::as_str) {
        Some("p2p") if args.len() > 2 => 1,
        Some("fanout") if args.len() > 2 => 3,
        _ => {
            eprintln!("usage: peer_crossbeam p2p|fanout WORKERS [N]");
            std::process::exit(2);
        }
    };
    let n = args.get(3).and_then(|s| s.parse().ok()).unwrap_or(1_000_000);
    emit(0, n / 10, consumers);
    let start = Instant::now();
    emit(0, n, consumers);
    println!("ns {:.3}", start.elapsed().as_nanos() as f64 / n as f64);
}
