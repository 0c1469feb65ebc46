# slimneck_cuda: the .cu files compiled by nvcc, as objects, and SLIMNECK_WITH_CUDA. Off by default, because no plan runs on
# CUDA yet; the tests of the kernels need neither nvcc nor a GPU (tests/cuda_emulation).
set(SLIMNECK_CUDA OFF CACHE STRING "CUDA kernels: AUTO (where nvcc is found), ON or OFF")
set_property(CACHE SLIMNECK_CUDA PROPERTY STRINGS AUTO ON OFF)
set(SLIMNECK_CUDA_THREADS 2 CACHE STRING "Architectures that one nvcc compiles at a time")
mark_as_advanced(SLIMNECK_CUDA_THREADS)
set(SLIMNECK_WITH_CUDA OFF)

if(SLIMNECK_CUDA)
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    # From Turing on; code of the last one is kept as PTX too, for devices that are yet to come.
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 89-real 90-real 100-real 120)
    endif()
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    set(SLIMNECK_WITH_CUDA ON)
  elseif(NOT SLIMNECK_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "SLIMNECK_CUDA=${SLIMNECK_CUDA}: no CUDA compiler was found; put nvcc into PATH, or set "
                        "CMAKE_CUDA_COMPILER or SLIMNECK_CUDA=OFF")
  endif()
endif()

if(SLIMNECK_WITH_CUDA)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
    message(FATAL_ERROR "SLIMNECK_CUDA=${SLIMNECK_CUDA}: nvcc ${CMAKE_CUDA_COMPILER_VERSION} was found, wanted 12.8 or later")
  endif()
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake before 3.25.2 does not know that nvcc has C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  endif()
  string(REGEX MATCH "[0-9]+" slimneck_cuda_lowest "${CMAKE_CUDA_ARCHITECTURES}")
  if(NOT slimneck_cuda_lowest)  # "native", "all"
    set(slimneck_cuda_lowest 75)
  endif()
  file(GLOB slimneck_cuda_sources CONFIGURE_DEPENDS src/kernels/*/*.cu)
  add_library(slimneck_cuda OBJECT ${slimneck_cuda_sources})
  target_include_directories(slimneck_cuda PRIVATE include ${PROJECT_BINARY_DIR}/include src)
  target_compile_definitions(slimneck_cuda PRIVATE SLIMNECK_CUDA_LOWEST=${slimneck_cuda_lowest}
                                                   $<$<NOT:$<BOOL:${BUILD_SHARED_LIBS}>>:SLIMNECK_STATIC>)
  # 554: a view of const elements is never converted to itself; that is what the conversion is for.
  target_compile_options(
    slimneck_cuda PRIVATE --diag-suppress=554 -O3 -lineinfo --threads=${SLIMNECK_CUDA_THREADS} -Werror=all-warnings
                          -Xptxas=-warn-spills -Xcompiler=-Wall,-Wextra)
  set_target_properties(slimneck_cuda PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF
                                                 POSITION_INDEPENDENT_CODE ON CUDA_VISIBILITY_PRESET hidden)
endif()
