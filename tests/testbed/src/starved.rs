//! How long processes were ready to run and got no processor: what a busy machine adds to every time that is measured on
//! it, by the kernel's own account. Owns reading it; which processes take part in what is measured is the caller's.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Between two looks: as exact as the answer is.
const EVERY: Duration = Duration::from_millis(20);
/// Looks between two questions which processes there are.
const ANEW: usize = 25;

/// One look: how long each thread had waited by then, with the number of its group.
type Look = (Instant, HashMap<u32, (usize, Duration)>);

/// Looks at processes until it is ended.
#[derive(Debug)]
pub struct Watch {
    over: Arc<AtomicBool>,
    looking: JoinHandle<Vec<Look>>,
}

impl Watch {
    /// Begins; `groups` is asked twice a second which processes count, those that work side by side in one group.
    pub fn begin(groups: impl Fn() -> Vec<Vec<u32>> + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        Self { over, looking: thread::spawn(move || look(&groups, &ended)) }
    }

    /// Ends -> what was seen.
    ///
    /// # Errors
    /// When `groups` panicked.
    pub fn end(self) -> Result<Starved> {
        self.over.store(true, Ordering::Relaxed);
        let looks = self.looking.join().map_err(|_| anyhow!("watching processes panicked"))?;
        Ok(Starved { looks })
    }
}

/// What was seen.
#[derive(Debug, Clone)]
pub struct Starved {
    looks: Vec<Look>,
}

impl Starved {
    /// How long something had to wait for processors, between two moments, that went from group to group: in each it cannot
    /// have waited for longer than the thread did that waited longest.
    pub fn between(&self, start: Instant, end: Instant) -> Duration {
        let before = self.looks.iter().rposition(|(at, _)| *at <= start).unwrap_or(0);
        // A wait is written down when it is over, so the first look after the end counts.
        let after = self.looks.iter().position(|(at, _)| *at >= end + EVERY).unwrap_or(self.looks.len());
        let mut longest = HashMap::<usize, Duration>::new();
        // What a thread had waited when it was first seen does not count.
        let mut first = HashMap::new();
        for (thread, (group, waited)) in self.looks[before..].iter().take(after - before + 1).flat_map(|(_, seen)| seen)
        {
            let already = *first.entry(thread).or_insert(*waited);
            let longest = longest.entry(*group).or_default();
            *longest = (*longest).max(waited.saturating_sub(already));
        }
        longest.values().sum()
    }

    /// The most of it within any stretch of this length.
    pub fn most_within(&self, length: Duration) -> Duration {
        self.looks.iter().map(|(at, _)| self.between(*at, *at + length)).max().unwrap_or_default()
    }
}

fn look(groups: &dyn Fn() -> Vec<Vec<u32>>, over: &AtomicBool) -> Vec<Look> {
    let (mut looks, mut members) = (Vec::new(), Vec::new());
    loop {
        let last = over.load(Ordering::Relaxed);
        if looks.len() % ANEW == 0 {
            members = groups();
        }
        let pids = members.iter().enumerate().flat_map(|(group, pids)| pids.iter().map(move |pid| (group, *pid)));
        let waits =
            pids.flat_map(|(group, pid)| threads(pid).into_iter().map(move |(id, waited)| (id, (group, waited))));
        looks.push((Instant::now(), waits.collect()));
        if last {
            return looks;
        }
        thread::sleep(EVERY); // the pace
    }
}

/// The threads of a process, and how long each has waited for a processor in its life; none when it is gone.
fn threads(pid: u32) -> Vec<(u32, Duration)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let waited = |id: u32| {
        // Nanoseconds run, nanoseconds waited, times run.
        let stat = fs::read_to_string(format!("/proc/{pid}/task/{id}/schedstat")).ok()?;
        Some((id, Duration::from_nanos(stat.split(' ').nth(1)?.parse().ok()?)))
    };
    threads.filter_map(|thread| waited(thread.file_name().to_str()?.parse().ok()?)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wait::{Look, until};

    #[test]
    fn threads_that_share_a_processor_wait_and_one_that_sleeps_does_not() {
        let own = std::process::id();
        let mut sleeper = std::process::Command::new("sleep").arg("9").spawn().unwrap();
        let sleeping = sleeper.id();
        until("it to sleep", Duration::from_secs(60), || {
            let stat = fs::read_to_string(format!("/proc/{sleeping}/stat"))?;
            Ok(if stat.contains("(sleep) S ") { Look::Ready(()) } else { Look::NotYet(stat) })
        })
        .unwrap();
        let (busy, idle) = (Watch::begin(move || vec![vec![own]]), Watch::begin(move || vec![vec![sleeping]]));
        let threads = thread::available_parallelism().unwrap().get() * 4;
        let over = AtomicBool::new(false);
        let (start, end) = thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            thread::sleep(Duration::from_millis(600)); // so that each look twice a second finds them all
            let start = Instant::now();
            thread::sleep(Duration::from_millis(800)); // what is measured
            over.store(true, Ordering::Relaxed);
            (start, Instant::now())
        });
        let (busy, idle) = (busy.end().unwrap(), idle.end().unwrap());
        assert!(busy.most_within(end - start) >= busy.between(start, end));
        let (busy, idle) = (busy.between(start, end), idle.between(start, end));
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        // Each has a quarter of a processor at most.
        // Up to a look more than the time itself on either side.
        let most = end - start + Duration::from_millis(500);
        assert!(busy > Duration::from_millis(200) && busy <= most, "{busy:?} of {:?}", end - start);
        assert!(idle < Duration::from_millis(100), "{idle:?}");
    }
}
