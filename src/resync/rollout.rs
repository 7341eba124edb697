//! Which cache pod gives way next where several StatefulSets of one cluster roll: one at a time over all of them.

/// A cache pod, as far as a rollout looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its StatefulSet has another template by now.
    pub outdated: bool,
    /// It has been ready for its StatefulSet's `minReadySeconds`, and its server holds every copy that it should.
    pub settled: bool,
    /// None of its containers runs: nothing is lost with it.
    pub down: bool,
}

/// The pod to replace now, by its number in `pods`, which are all of the cluster; `None` where nothing is to be done, or
/// something has to come to rest first.
pub fn next(pods: &[Standing]) -> Option<usize> {
    let restless: Vec<usize> = (0..pods.len()).filter(|pod| !pods[*pod].settled).collect();
    match restless[..] {
        [] => pods.iter().position(|pod| pod.outdated),
        // It is away anyway, and its new template may be what brings it back.
        [only] if pods[only].outdated && pods[only].down => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLED: Standing = Standing { outdated: false, settled: true, down: false };
    const OLD: Standing = Standing { outdated: true, ..SETTLED };
    const FILLING: Standing = Standing { settled: false, ..SETTLED };
    const DOWN: Standing = Standing { down: true, ..FILLING };

    #[test]
    fn one_at_a_time_and_only_while_all_are_settled() {
        assert_eq!(next(&[SETTLED, SETTLED]), None);
        assert_eq!(next(&[SETTLED, OLD, OLD]), Some(1));
        assert_eq!(next(&[FILLING, OLD, OLD]), None);
        assert_eq!(
            next(&[OLD, Standing { settled: false, ..OLD }]),
            None,
            "a server that is not whole keeps what it has"
        );
    }

    #[test]
    fn the_one_that_is_down_comes_first_and_two_that_are_down_are_left() {
        assert_eq!(next(&[OLD, Standing { outdated: true, ..DOWN }]), Some(1));
        assert_eq!(next(&[OLD, DOWN]), None, "it has the new template, and does not run with it");
        assert_eq!(next(&[Standing { outdated: true, ..DOWN }, DOWN]), None);
    }
}
