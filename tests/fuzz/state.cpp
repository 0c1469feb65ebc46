// The state of a training.
#include <cmath>
#include <optional>

#include "slimneck/train.hpp"
#include "target.hpp"

using namespace slimneck;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::optional<TrainState> state;
  if (!fuzz::accepts([&] { state = parse_train_state(fuzz::text_of(data, size), "state.json"); })) return 0;
  fuzz::require(state->generation >= 0 && state->epoch >= 0 && state->batch >= 0 && state->iteration >= 0);
  // What is written is read back.
  const std::string written = write_train_state(*state);
  fuzz::require(write_train_state(parse_train_state(written, "written.json")) == written);
  return 0;
}
