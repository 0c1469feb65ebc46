// From what a model file says to a graph.
#include <algorithm>
#include <cmath>

#include "io/files.hpp"
#include "io/model_files.hpp"
#include "io/model_spec.hpp"
#include "layers/modules/arguments.hpp"
#include "slimneck/model.hpp"

namespace slimneck {

namespace {

using io::in_quotes;
using io::ModelRow;
using io::ModelSpec;
using io::Yaml;
using io::YamlNode;

constexpr index_t max_repeats = 1000;

/// Rounds halves to even, as Python does.
index_t scaled_repeats(index_t number, double depth) {
  return number > 1 ? std::max<index_t>(static_cast<index_t>(std::nearbyint(static_cast<double>(number) * depth)), 1)
                    : number;
}

class ModelBuild {
 public:
  ModelBuild(ModelSpec spec, const ModelOptions& options) : spec_(std::move(spec)), options_(options) {
    if (options.classes) {
      if (*options.classes < 1 || *options.classes > 65535)
        throw ShapeError(std::to_string(*options.classes) + " classes; wanted 1..65535");
      spec_.classes = options.classes;
    }
    if (!options.anchors.empty()) replace_anchors(options.anchors);
    if (options.batch < 1 || options.height < 1 || options.width < 1)
      throw ShapeError("a batch of " + std::to_string(options.batch) + " pictures of " +
                       std::to_string(options.height) + "x" + std::to_string(options.width) +
                       "; wanted at least 1 of 1x1");
  }

  Model run() {
    find_modules();
    decide();
    model_.warnings = spec_.warnings;
    model_.classes = spec_.classes.value_or(0);
    input_ = model_.graph.input("x", {options_.batch, spec_.channels, options_.height, options_.width});
    read_.assign(spec_.rows.size(), 0);
    for (std::size_t i = 0; i < spec_.rows.size(); ++i) {
      const YamlNode& where = *spec_.rows[i].where;
      try {
        add_layer(static_cast<int>(i));
        budget_.charge(model_.graph);
      } catch (const ShapeError& problem) {
        throw ShapeError(*where.file + ":" + std::to_string(where.line) + ":" + std::to_string(where.column) + ": " +
                         problem.what());
      }
    }
    if (model_.graph.outputs().empty()) model_.graph.output("y", layer_values_.back());
    for (std::size_t i = 0; i + 1 < read_.size(); ++i)
      if (!read_[i])
        model_.warnings.push_back(*spec_.rows[i].where->file + ":" + std::to_string(spec_.rows[i].where->line) +
                                  ": nothing reads layer " + std::to_string(i));
    spec_.dialect = model_.dialect;
    spec_.activation = model_.activation;
    spec_.shuffle = model_.shuffle;
    model_.yaml = io::write_model_spec(spec_);
    return std::move(model_);
  }

 private:
  void replace_anchors(const std::vector<std::vector<double>>& anchors) {
    for (const std::vector<double>& row : anchors)
      if (row.empty() || row.size() % 2 != 0 || row.size() != anchors.front().size())
        throw ShapeError("anchors: wanted pairs of width and height, as many for each level");
    spec_.anchors = anchors;
    spec_.anchor_count = static_cast<index_t>(anchors.front().size()) / 2;
  }

  const ModuleDef* find(std::string_view name) const {
    for (const ModuleDef* module : options_.modules)
      if (module->name == name || (!module->alias.empty() && module->alias == name)) return module;
    return find_module(name);
  }

  void find_modules() {
    for (const ModelRow& row : spec_.rows) {
      const std::string& name = row.module->text;
      const ModuleDef* module = find(name);
      if (module == nullptr) {
        std::vector<std::string> names;
        for (const auto& list : {options_.modules, all_modules()})
          for (const ModuleDef* known : list)
            for (const std::string_view word : {known->name, known->alias})
              if (!word.empty()) names.emplace_back(word);
        row.module->fail("unknown module " + in_quotes(name) + io::suggestion(name, names));
      }
      if (module->head && &row != &spec_.rows.back())
        row.where->fail(in_quotes(name) + " must be the last row, and the only one of its kind");
      defs_.push_back(module);
    }
  }

  void decide() {
    const bool gs = std::any_of(defs_.begin(), defs_.end(), [](const ModuleDef* m) { return m->gs; });
    // The first that is given counts.
    const auto choose = [](std::initializer_list<std::string_view> by_rank) {
      const auto at =
          std::find_if(by_rank.begin(), by_rank.end(), [](std::string_view choice) { return !choice.empty(); });
      return at == by_rank.end() ? std::string_view() : *at;
    };
    const std::string_view name =
        choose({options_.dialect, options_.weights_dialect, spec_.dialect, gs ? "paper" : "yolov5"});
    const Dialect* dialect = find_dialect(name);
    if (dialect == nullptr)
      throw FormatError("unknown dialect " + in_quotes(name) + "; wanted yolov5, y5, paper, v4 or v8");
    dialect_ = *dialect;
    if (const std::string_view word = choose({options_.activation, spec_.activation}); !word.empty()) {
      const auto act = find_activation(word);
      if (!act) throw FormatError("unknown activation " + in_quotes(word) + "; wanted one like nn.SiLU()");
      dialect_.act = *act;
    }
    if (const std::string_view word = choose({options_.shuffle, spec_.shuffle}); !word.empty()) {
      const auto shuffle = find_shuffle(word);
      if (!shuffle) throw FormatError("unknown shuffle " + in_quotes(word) + "; wanted interleave or deinterleave");
      dialect_.shuffle = *shuffle;
    }
    model_.dialect = dialect_.name;
    model_.activation = to_string(dialect_.act);
    model_.shuffle = to_string(dialect_.shuffle);
  }

  /// The values that a row reads; marks their layers as read.
  std::vector<Value> inputs_of(int index) {
    const ModelRow& row = spec_.rows[static_cast<std::size_t>(index)];
    const ModuleDef& module = *defs_[static_cast<std::size_t>(index)];
    const YamlNode& from = *row.where->items[0];
    if (row.from_is_list && !module.many_inputs)
      from.fail(in_quotes(module.name) + " reads one layer; from is " + from.describe());
    std::vector<Value> inputs;
    for (const int f : row.from) {
      const int source = f < 0 ? index + f : f;
      if (source == -1 && index == 0) {
        inputs.push_back(input_);
        continue;
      }
      if (source < 0 || source >= index)
        from.fail("layer " + std::to_string(index) + " cannot read from " + std::to_string(f) +
                  (index == 0 ? "; the first layer reads the picture, -1"
                              : "; wanted one of the layers 0.." + std::to_string(index - 1) + ", or -1.." +
                                    std::to_string(-index) + " counted back"));
      inputs.push_back(layer_values_[static_cast<std::size_t>(source)]);
      read_[static_cast<std::size_t>(source)] = 1;
    }
    return inputs;
  }

  index_t scaled_width(const YamlNode& node, const Argument& argument) const {
    const auto* c2 = std::get_if<index_t>(&argument);
    if (c2 == nullptr || *c2 < 1 || *c2 > max_channels)
      node.fail("the output width is " + node.describe() + "; wanted an integer in 1.." + std::to_string(max_channels));
    if (spec_.classes && spec_.anchor_count > 0 && *c2 == spec_.anchor_count * (*spec_.classes + 5)) return *c2;
    const auto step = static_cast<double>(spec_.multiple_of);
    const double width = std::ceil(static_cast<double>(std::min(*c2, spec_.widest)) * spec_.width / step) * step;
    if (width > static_cast<double>(max_channels))
      node.fail("the output width scales to more than " + std::to_string(max_channels) + " channels");
    return static_cast<index_t>(width);
  }

  void add_layer(int index) {
    const ModelRow& row = spec_.rows[static_cast<std::size_t>(index)];
    const ModuleDef& module = *defs_[static_cast<std::size_t>(index)];
    ModelLayer layer;
    layer.index = index;
    layer.from = row.from;
    layer.module = row.module->text;
    layer.repeats = scaled_repeats(row.number, spec_.depth);
    if (layer.repeats > max_repeats)
      row.where->items[1]->fail("number scales to " + std::to_string(layer.repeats) + "; wanted at most " +
                                std::to_string(max_repeats));
    if (layer.repeats > 1 && module.many_inputs)
      row.where->items[1]->fail(in_quotes(layer.module) + " cannot be repeated");
    ModuleCall call;
    call.inputs = inputs_of(index);
    call.repeats = layer.repeats;
    for (const Yaml& arg : row.args) call.args.push_back(io::resolve_argument(*arg, spec_, row.from.size()));
    if (module.width == ModuleDef::Width::scaled) {
      if (call.args.empty()) row.where->items[3]->fail(in_quotes(layer.module) + " needs its output width");
      call.c2 = scaled_width(*row.args[0], call.args[0]);
      call.args.erase(call.args.begin());
    }
    layer.arguments = print_arguments(module, call);
    layer.first_node = model_.graph.size();
    const Value value = build(module, call, index);
    layer.last_node = model_.graph.size();
    if (model_.graph.shape(value).c > max_channels)
      throw ShapeError("layer " + std::to_string(index) + " has " + std::to_string(model_.graph.shape(value).c) +
                       " channels; at most " + std::to_string(max_channels) + " are built");
    layer.outputs = {value};
    if (module.head) describe_head(*row.where, layer, call);
    layer_values_.push_back(value);
    model_.layers.push_back(std::move(layer));
  }

  Value build(const ModuleDef& module, ModuleCall& call, int index) {
    const ModuleBuilder builder(model_.graph, dialect_, "model." + std::to_string(index), &budget_);
    if (module.repeats_inside || call.repeats == 1) return module.build(builder, call);
    const index_t c1 = builder.channels(call.inputs[0]);
    for (index_t i = 0; i < call.repeats; ++i) {
      if (builder.channels(call.inputs[0]) != c1)
        builder.fail("cannot be repeated: it reads " + std::to_string(c1) + " channels and gives " +
                     std::to_string(builder.channels(call.inputs[0])));
      call.inputs = {module.build(builder.scope(i), call)};
    }
    return call.inputs[0];
  }

  void describe_head(const YamlNode& where, ModelLayer& layer, const ModuleCall& call) {
    layer.outputs.clear();
    for (const Output& output : model_.graph.outputs())
      if (output.kind == OutputKind::result) layer.outputs.push_back(output.value);
    if (call.args.size() != 2) return;  // a head of another library's kind
    if (const auto* nc = std::get_if<index_t>(&call.args[0])) {
      if (spec_.classes && *nc != *spec_.classes)
        where.fail("the head is for " + std::to_string(*nc) + " classes, the model for " +
                   std::to_string(*spec_.classes));
      model_.classes = *nc;
    }
    if (const auto* anchors = std::get_if<std::vector<std::vector<double>>>(&call.args[1])) model_.anchors = *anchors;
    for (const Value& head : layer.outputs) model_.strides.push_back(options_.height / model_.graph.shape(head).h);
  }

  /// c1, c2 and the number of repeats stand before the file's own arguments, as YOLOv5 prints them.
  std::string print_arguments(const ModuleDef& module, const ModuleCall& call) const {
    std::vector<std::string> words;
    const auto c1 = [&](const Value& input) { return std::to_string(model_.graph.shape(input).c); };
    if (module.width == ModuleDef::Width::scaled) {
      words = {c1(call.inputs[0]), std::to_string(call.c2)};
      if (module.repeats_inside) words.push_back(std::to_string(call.repeats));
    }
    for (const Argument& argument : call.args) words.push_back(modules::to_string(argument));
    const auto join = [](const std::vector<std::string>& items) {
      std::string text = "[";
      for (const std::string& item : items) text += (text.size() > 1 ? ", " : "") + item;
      return text + "]";
    };
    if (module.head) {
      std::vector<std::string> widths;
      std::transform(call.inputs.begin(), call.inputs.end(), std::back_inserter(widths), c1);
      words.push_back(join(widths));
    }
    return join(words);
  }

  ModelSpec spec_;
  const ModelOptions& options_;
  Model model_;
  Dialect dialect_{};
  GraphBudget budget_;
  Value input_;
  std::vector<const ModuleDef*> defs_;  ///< per row
  std::vector<Value> layer_values_;     ///< per layer
  std::vector<char> read_;              ///< per layer: some later layer reads it
};

}  // namespace

index_t Model::max_stride() const noexcept {
  return strides.empty() ? 32 : *std::max_element(strides.begin(), strides.end());
}

Model parse_model(std::string_view yaml, std::string_view file_name, const ModelOptions& options) {
  const Yaml document = io::parse_yaml(yaml, file_name);
  const std::filesystem::path path(file_name);
  const std::string stem = path.stem().string();
  const Yaml base = io::read_base(*document, path.parent_path());
  Model model = ModelBuild(io::read_model_spec(document, base, options.scale, stem), options).run();
  model.name = options.scale.empty() ? stem : io::scaled_name(stem, options.scale);
  return model;
}

}  // namespace slimneck
