#include "graph/packed_store.hpp"

namespace slimneck::graph {

std::shared_ptr<PackedForm> new_form(const Packed& what, Isa isa, DType type) {
  return std::make_shared<PackedForm>(PackedForm{what, isa, Tensor({1, 1, 1, what.elements}, type), 0});
}

std::shared_ptr<PackedForm> PackedStore::get(const Packed& what, Isa isa, DType type) {
  std::vector<std::weak_ptr<PackedForm>>& forms = forms_[what.entry];
  std::erase_if(forms, [](const std::weak_ptr<PackedForm>& f) { return f.expired(); });
  for (const std::weak_ptr<PackedForm>& weak : forms)
    if (std::shared_ptr<PackedForm> form = weak.lock(); form && form->isa == isa && form->what.same(what)) return form;
  std::shared_ptr<PackedForm> form = new_form(what, isa, type);
  forms.push_back(form);
  return form;
}

}  // namespace slimneck::graph
