//! A limit on the size of files (`ulimit -f`): what is written beyond it is an error like a full disk's, not the
//! end of the program.

/// From now on the system's signal for it ends nothing.
pub(crate) fn take_signal() {
    #[cfg(unix)]
    {
        // Whoever has it ignored already keeps it so, or it was never of use: there is nothing to tell.
        let _ =
            signal_hook::flag::register(signal_hook::consts::SIGXFSZ, std::sync::Arc::default());
    }
}
