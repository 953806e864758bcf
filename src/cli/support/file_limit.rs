//! A limit on the size of files (`ulimit -f`): what is written beyond it is an error like a full disk's, not the
//! end of the program.

/// From now on the system's signal for it ends nothing.
pub(crate) fn take_signal() {
    #[cfg(unix)]
    {
        // The signal stays ignored if it was already, or it had no use: there is nothing to report.
        let _ =
            signal_hook::flag::register(signal_hook::consts::SIGXFSZ, std::sync::Arc::default());
    }
}
