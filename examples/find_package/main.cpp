// The smallest program that uses slimneck.
#include <iostream>

#include "slimneck/tensor.hpp"
#include "slimneck/version.hpp"

int main() {
  const slimneck::Tensor picture({1, 3, 64, 64});
  std::cout << "slimneck " << SLIMNECK_VERSION_STRING << ": a tensor of " << slimneck::to_string(picture.shape())
            << ", " << picture.bytes() << " bytes\n";
  return 0;
}
