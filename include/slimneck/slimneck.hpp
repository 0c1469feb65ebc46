// All of slimneck.
#pragma once

#include "slimneck/cost.hpp"
#include "slimneck/data.hpp"
#include "slimneck/detect.hpp"
#include "slimneck/files.hpp"
#include "slimneck/gradcheck.hpp"
#include "slimneck/hyp.hpp"
#include "slimneck/image.hpp"
#include "slimneck/loss.hpp"
#include "slimneck/metrics.hpp"
#include "slimneck/model.hpp"
#include "slimneck/onnx.hpp"
#include "slimneck/optim.hpp"
#include "slimneck/plot.hpp"
#include "slimneck/version.hpp"
#include "slimneck/video.hpp"
#include "slimneck/weights.hpp"
