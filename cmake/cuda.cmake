# SLIMNECK_CUDA says whether the library gets kernels for CUDA devices; the result is SLIMNECK_WITH_CUDA. Nothing here is
# needed for the tests of the same kernels on an emulated device (tests/cuda_emulation).
#
#   AUTO  where a CUDA compiler is found; the default
#   ON    an error where none is found
#   OFF   none is looked for; the default inside another project, and in the presets, which scripts and CI use, because
#         seven architectures take minutes
#
# CMAKE_CUDA_ARCHITECTURES chooses the devices. The runtime is linked statically: such a program needs neither the
# toolkit nor a driver to start, and says what is missing when it is asked for a device.
if(SLIMNECK_TOP_LEVEL)
  set(slimneck_cuda_default AUTO)
else()
  set(slimneck_cuda_default OFF)
endif()
set(SLIMNECK_CUDA ${slimneck_cuda_default} CACHE STRING "CUDA kernels: AUTO (where nvcc is found), ON or OFF")
set_property(CACHE SLIMNECK_CUDA PROPERTY STRINGS AUTO ON OFF)
set(SLIMNECK_CUDA_THREADS 2 CACHE STRING "Architectures that one nvcc compiles at a time")
mark_as_advanced(SLIMNECK_CUDA_THREADS)
set(SLIMNECK_WITH_CUDA OFF)
set(slimneck_cuda_oldest 12.8)  # knows compute capability 12.0

# Why CUDA cannot be had: an error where it was asked for.
function(slimneck_no_cuda reason)
  if(NOT SLIMNECK_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "SLIMNECK_CUDA=${SLIMNECK_CUDA}: ${reason}")
  endif()
  message(STATUS "No CUDA: ${reason}")
endfunction()

if(SLIMNECK_CUDA)
  include(CheckLanguage)
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    slimneck_no_cuda("no CUDA compiler was found; put nvcc into PATH, or set CMAKE_CUDA_COMPILER or SLIMNECK_CUDA=OFF")
  else()
    # From Turing on; code of the last one is kept as PTX too, for devices that are yet to come.
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 89-real 90-real 100-real 120)
    endif()
    enable_language(CUDA)
    find_package(CUDAToolkit)
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS slimneck_cuda_oldest)
      slimneck_no_cuda("nvcc ${CMAKE_CUDA_COMPILER_VERSION} was found, wanted ${slimneck_cuda_oldest} or later")
    elseif(NOT TARGET CUDA::cudart_static)
      slimneck_no_cuda("nvcc was found, but no static CUDA runtime; set CUDAToolkit_ROOT")
    else()
      set(SLIMNECK_WITH_CUDA ON)
    endif()
  endif()
endif()

# slimneck_cuda_kernels(TARGET ARCHITECTURES): the .cu files of the library as objects.
function(slimneck_cuda_kernels target architectures)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/kernels/*/*.cu)
  add_library(${target} OBJECT ${sources})
  string(REGEX MATCH "[0-9]+" lowest "${architectures}")
  if(NOT lowest)  # "native", "all"
    set(lowest 75)
  endif()
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/include ${PROJECT_BINARY_DIR}/include
                                               ${PROJECT_SOURCE_DIR}/src)
  target_compile_definitions(${target} PRIVATE SLIMNECK_CUDA_LOWEST=${lowest}
                                               $<$<NOT:$<BOOL:${BUILD_SHARED_LIBS}>>:SLIMNECK_STATIC>)
  # 554: a view of const elements is never converted to itself; that is what the conversion is for.
  target_compile_options(
    ${target} PRIVATE --diag-suppress=554 -O3 -lineinfo --threads=${SLIMNECK_CUDA_THREADS} -Werror=all-warnings
                      -Xptxas=-warn-spills -Xcompiler=-Wall,-Wextra)
  set_target_properties(${target} PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF
                                             CUDA_ARCHITECTURES "${architectures}" POSITION_INDEPENDENT_CODE ON
                                             CUDA_VISIBILITY_PRESET hidden)
endfunction()

if(SLIMNECK_WITH_CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake before 3.25.2 does not know that nvcc has C++20
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  endif()
  slimneck_cuda_kernels(slimneck_cuda "${CMAKE_CUDA_ARCHITECTURES}")
endif()
