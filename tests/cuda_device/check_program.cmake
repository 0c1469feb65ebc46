# Runs PROGRAM on the CPU and on the device cuda: it must start without the toolkit and without a driver, and where there
# is no device it must say why with exit code 1 and one line.
cmake_minimum_required(VERSION 3.20)
set(network bench --cfg slimneck-n --img 32 --time 0.01)
execute_process(COMMAND ${PROGRAM} ${network} RESULT_VARIABLE code OUTPUT_VARIABLE said ERROR_VARIABLE said)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "on the CPU: ${code}\n${said}")
endif()
execute_process(COMMAND ${PROGRAM} ${network} --device cuda RESULT_VARIABLE code OUTPUT_VARIABLE ignored ERROR_VARIABLE said)
if(NOT code EQUAL 0 AND NOT (code EQUAL 1 AND said MATCHES "^error: cuda: [^\n]+\n$"))
  message(FATAL_ERROR "on the device: ${code}\n${said}")
endif()
message(STATUS "--device cuda: ${code} ${said}")
