//! The words of Remuda.
