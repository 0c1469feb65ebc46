// Weights in safetensors' format.
#include "slimneck/weights.hpp"
#include "target.hpp"

using namespace slimneck;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::accepts([&] {
    const SafeTensors file = SafeTensors::parse(fuzz::bytes_of(fuzz::text_of(data, size)), "a.safetensors");
    std::size_t bytes = 0;
    for (const SafeTensors::Entry& entry : file.entries()) {
      bytes += entry.bytes.size();
      fuzz::require(file.find(entry.name) == &entry);
      for (const DType type : {DType::f32, DType::f64, DType::i32, DType::u8})
        fuzz::accepts([&] { static_cast<void>(file.tensor(entry.name, type)); });
    }
    fuzz::require(bytes <= size);
    static_cast<void>(class_names(file.metadata(), 2));
  });
  return 0;
}
