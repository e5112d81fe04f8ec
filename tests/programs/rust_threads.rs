// A static Rust program with many threads: channels, mutexes, scoped threads, park and unpark, child processes.
use std::collections::HashMap;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, RwLock, mpsc};
use std::thread;

fn main() {
    let (sender, receiver) = mpsc::channel();
    for number in 0..64u64 {
        let sender = sender.clone();
        thread::spawn(move || (0..1000).for_each(|i| sender.send(number * i).unwrap()));
    }
    drop(sender);
    println!("channel {}", receiver.iter().sum::<u64>());

    let counts = Arc::new(Mutex::new(HashMap::new()));
    thread::scope(|scope| {
        for number in 0..32 {
            let counts = &counts;
            scope.spawn(move || (0..500).for_each(|i| *counts.lock().unwrap().entry((number + i) % 7).or_insert(0) += 1));
        }
    });
    let counts = counts.lock().unwrap();
    println!("mutex {}", counts.values().sum::<i32>());

    let turn = Arc::new((Mutex::new(0), Condvar::new()));
    let players: Vec<_> = (0..4)
        .map(|player| {
            let turn = Arc::clone(&turn);
            thread::spawn(move || {
                for _ in 0..250 {
                    let mut now = turn.0.lock().unwrap();
                    while *now % 4 != player {
                        now = turn.1.wait(now).unwrap();
                    }
                    *now += 1;
                    turn.1.notify_all();
                }
            })
        })
        .collect();
    players.into_iter().for_each(|player| player.join().unwrap());
    println!("condition {}", turn.0.lock().unwrap());

    let shared = RwLock::new(0);
    thread::scope(|scope| {
        (0..8).for_each(|_| drop(scope.spawn(|| (0..1000).for_each(|_| *shared.write().unwrap() += 1))));
        (0..8).for_each(|_| drop(scope.spawn(|| (0..1000).for_each(|_| assert!(*shared.read().unwrap() <= 8000)))));
    });
    println!("lock {}", shared.read().unwrap());

    let sleeper = thread::spawn(|| thread::park());
    sleeper.thread().unpark();
    sleeper.join().unwrap();
    let panicked = thread::Builder::new().name("unlucky".into()).spawn(|| {
        std::panic::set_hook(Box::new(|_| ()));
        panic!("expected")
    });
    println!("panic {}", panicked.unwrap().join().is_err());

    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"through cat").unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    println!("{text} {}", child.wait().unwrap());
}
