// slimneck train: YOLOv5's train on a processor.
#include <memory>
#include <optional>

#include "slimneck/parallel.hpp"
#include "train_folder.hpp"
#include "train_options.hpp"
#include "train_run.hpp"

namespace slimneck::cli {

namespace {

bool first(const TrainArguments& arguments) { return arguments.communicator->rank() == 0; }

void start(const TrainArguments& arguments) {
  if (!first(arguments)) return follow(TrainSetup(arguments));
  const RunFolder folder(arguments.folder);  // an empty one goes when something below does not fit
  const TrainSetup setup(arguments);
  require_space(folder.path(), setup.bytes_on_disk());
  const std::filesystem::path weights = folder.inner(weights_folder);
  const FolderLock lock(weights);
  remove_half_files(folder.path());
  remove_checkpoints(weights);
  TrainRun run(setup, folder.path());
  run.begin();
  run();
}

void resume(const TrainArguments& given, const CLI::App& command) {
  const std::filesystem::path folder = find_run(given.resume, given.folder.project);
  std::optional<FolderLock> lock;
  if (first(given)) lock.emplace(folder / weights_folder);
  const Checkpoint checkpoint = find_checkpoint(folder / weights_folder);
  const TrainArguments arguments = resumed_arguments(given, command, checkpoint.state.options, folder.string());
  if (checkpoint.state.epoch >= arguments.epochs)
    throw Error(folder.string() + ": training to " + std::to_string(arguments.epochs) +
                " epochs is finished, nothing to resume");
  const TrainSetup setup(arguments, checkpoint.state);
  if (!first(given)) return follow(setup, &checkpoint);
  remove_half_files(folder);
  require_space(folder, setup.bytes_on_disk());
  TrainRun run(setup, folder);
  run.resume(checkpoint);
  run();
}

void run(TrainArguments& arguments, const CLI::App& command) {
  arguments.resuming = command.count("--resume") > 0;
  arguments.caching = command.count("--cache") > 0;
  arguments.check();
  const std::unique_ptr<Communicator> processes = make_communicator();
  arguments.communicator = processes.get();
  if (!first(arguments)) be_quiet();
  try {
    if (arguments.resuming)
      resume(arguments, command);
    else
      start(arguments);
  } catch (const Stopped&) {
    throw;  // all of them
  } catch (const std::exception& problem) {
    processes->leave(problem.what());
    throw;
  }
}

}  // namespace

void add_train(CLI::App& app) {
  CLI::App* command = app.add_subcommand("train", "train a detector on pictures of one's own");
  auto arguments = std::make_shared<TrainArguments>();
  arguments->add_to(*command);
  command->footer(
      "The run's folder gets weights/best.safetensors and last.safetensors (float32; convert --half makes them\n"
      "smaller), results.csv, report.html, pictures, and what --resume goes on from, to the same bits.\n"
      "Ctrl-C finishes the batch and saves; a second one leaves at once.\n"
      "Examples:\n"
      "  slimneck train --data my.yaml --cfg slimneck-n --epochs 100 --img 320\n"
      "  slimneck train --data my.yaml --weights yolov5n.pt --freeze 10 --batch 8\n"
      "  slimneck train --resume runs/train/exp\n"
      "  mpirun -np 4 --bind-to none slimneck train --data my.yaml --cfg slimneck-n --sync-bn --threads 8");
  command->callback([arguments, command] { run(*arguments, *command); });
}

}  // namespace slimneck::cli
