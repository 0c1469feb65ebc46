// What a pickled network says about itself, besides its tensors.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "io/pickle.hpp"

namespace slimneck::io {

/// Calls visit(name, tensor) for every parameter and persistent buffer of a pickled module, named as its state dict
/// names them. Throws FormatError on a tree that is too large, too deep or circular.
void visit_tensors(const PickleValue& module, std::string_view file_name,
                   const std::function<void(std::string, const PickleValue&)>& visit);

/// Metadata of a pickled model: its class names, its model file (as JSON, which is YAML too; with the activation and
/// the dialect that its modules show) and that dialect. What is missing or strange is left out.
std::map<std::string, std::string> model_metadata(const PickleValue& model, std::string_view file_name);

}  // namespace slimneck::io
