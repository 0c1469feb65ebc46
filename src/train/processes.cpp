// Was this process started as one of several?
#include <charconv>
#include <cstdlib>
#include <cstring>

#include "slimneck/error.hpp"
#include "slimneck/parallel.hpp"
#ifdef SLIMNECK_WITH_MPI
#include "train/mpi.hpp"
#endif

namespace slimneck {

namespace {

/// How many were started together, as Open MPI, MPICH and its kin, and Slurm tell their processes; 1 when nobody did.
int started_together() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}) {
    const char* text = std::getenv(name);
    if (text == nullptr) continue;
    int count = 1;
    std::from_chars(text, text + std::strlen(text), count);
    return count;
  }
  return 1;
}

}  // namespace

#ifdef SLIMNECK_WITH_MPI

bool has_mpi() noexcept { return true; }

std::unique_ptr<Communicator> make_communicator() { return started_together() > 1 ? train::make_mpi() : make_single(); }

#else

bool has_mpi() noexcept { return false; }

std::unique_ptr<Communicator> make_communicator() {
  if (const int count = started_together(); count > 1)
    throw Error(
        "this is one of " + std::to_string(count) +
        " processes that were started together, but this build has no MPI and they would not know of each other: "
        "build with -DSLIMNECK_MPI=ON, or start one process");
  return make_single();
}

#endif

}  // namespace slimneck
