//! A limit on the size of files (`ulimit -f`): a write beyond it fails like one to a full disk, and does not end the
//! program.

/// Ignores the signal (SIGXFSZ) that would end the program.
pub(crate) fn take_signal() {
    #[cfg(unix)]
    {
        // The signal stays ignored if it was already, or it had no use: there is nothing to report.
        let _ =
            signal_hook::flag::register(signal_hook::consts::SIGXFSZ, std::sync::Arc::default());
    }
}
