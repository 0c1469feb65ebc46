// Communicators of processes. Compiled with SLIMNECK_MPI=ON alone.
#pragma once

#include <memory>

#include "slimneck/parallel.hpp"

namespace slimneck::train {

/// Of all processes that were started together. Starts MPI, and ends it when it goes.
std::unique_ptr<Communicator> make_mpi();

}  // namespace slimneck::train
