//! What computes: the execution providers of ONNX Runtime and how each is set up.

use std::path::PathBuf;
use std::str::FromStr;

use ort::ep::{ArenaExtendStrategy, CUDA, ExecutionProviderDispatch, OpenVINO, TensorRT, cuda::ConvAlgorithmSearch};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// OpenVINO on the CPU: about twice as fast as ONNX Runtime's own kernels.
    OpenVino,
    /// ONNX Runtime's own CPU kernels.
    Cpu,
    /// The NVIDIA GPU of this number, by CUDA and cuDNN.
    Cuda(u16),
    /// The NVIDIA GPU of this number, by TensorRT, and by CUDA for what TensorRT does not take.
    TensorRt(u16),
}

impl std::fmt::Display for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Provider::OpenVino => f.write_str("openvino"),
            Provider::Cpu => f.write_str("cpu"),
            Provider::Cuda(number) => write!(f, "cuda:{number}"),
            Provider::TensorRt(number) => write!(f, "tensorrt:{number}"),
        }
    }
}

impl FromStr for Provider {
    type Err = String;

    /// `cpu`, `openvino`, `cuda:N` or `tensorrt:N`; N, the GPU's number, is 0 where it is left out.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once(':').unwrap_or((text, "0"));
        let number = number.parse().map_err(|_| format!("{number:?} is not the number of a GPU"))?;
        match name {
            "cuda" => Ok(Provider::Cuda(number)),
            "tensorrt" => Ok(Provider::TensorRt(number)),
            "cpu" if name == text => Ok(Provider::Cpu),
            "openvino" if name == text => Ok(Provider::OpenVino),
            _ => Err("choose cpu, openvino, cuda:N or tensorrt:N".to_owned()),
        }
    }
}

impl Provider {
    /// What to do where it cannot be had.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Provider::Cuda(_) | Provider::TensorRt(_) => {
                "check that `nvidia-smi` shows the GPU and that SULCUS_ONNXRUNTIME names ONNX Runtime's GPU build \
                 (`pip download --no-deps onnxruntime-gpu`, with CUDA and cuDNN of its version in LD_LIBRARY_PATH), or \
                 choose `cpu` as the device"
            }
            Provider::OpenVino | Provider::Cpu => "try `cpu` as the device, or run `cargo xtask setup`",
        }
    }

    /// Tiles that are run together where the network's batch is free. A CPU is busy with one; a GPU waits less between
    /// kernels with several, and a last batch is filled up, so that shapes never change.
    pub(crate) fn batch(self) -> usize {
        match self {
            Provider::OpenVino | Provider::Cpu => 1,
            Provider::Cuda(_) | Provider::TensorRt(_) => 4,
        }
    }

    /// Where outputs are wanted: memory of this machine, which for a GPU is page-locked.
    pub(crate) fn outputs(self) -> ort::Result<MemoryInfo<'static>> {
        let (device, number) = match self {
            Provider::OpenVino | Provider::Cpu => (AllocationDevice::CPU, 0),
            Provider::Cuda(number) | Provider::TensorRt(number) => (AllocationDevice::CUDA_PINNED, number),
        };
        MemoryInfo::new(device, i32::from(number), AllocatorType::Device, MemoryType::CPUOutput)
    }
}

/// Where and how a network runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The execution provider.
    pub provider: Provider,
    /// Threads of one network; 0 leaves the number to the provider.
    pub threads: usize,
    /// Most memory of the GPU that one network may take, bytes; 0: all that is free. TensorRT's engines keep to it
    /// for their workspace alone.
    pub memory: usize,
    /// Where compiled networks are kept between starts; none: nowhere.
    pub cache: Option<PathBuf>,
    /// Whether the plain CPU may stand in where `provider` cannot be had. The session then says so.
    pub fall_back: bool,
}

impl Device {
    /// A provider with nothing else asked for.
    pub fn new(provider: Provider) -> Device {
        Device { provider, threads: 0, memory: 0, cache: None, fall_back: false }
    }

    /// The providers to register, in the order in which they get a network's nodes; none for the plain CPU. A provider
    /// that cannot be had is an error and never passed over.
    pub(crate) fn providers(&self) -> Vec<ExecutionProviderDispatch> {
        match self.provider {
            Provider::Cpu => Vec::new(),
            Provider::OpenVino => vec![self.openvino()],
            Provider::Cuda(number) => vec![self.cuda(number)],
            Provider::TensorRt(number) => vec![self.tensorrt(number), self.cuda(number)],
        }
    }

    fn openvino(&self) -> ExecutionProviderDispatch {
        let mut provider = OpenVINO::default().with_device_type("CPU");
        if self.threads > 0 {
            provider = provider.with_num_threads(self.threads);
        }
        if let Some(cache) = &self.cache {
            provider = provider.with_cache_dir(cache.display());
        }
        provider.build().error_on_failure()
    }

    fn cuda(&self, number: u16) -> ExecutionProviderDispatch {
        // An exhaustive search of convolutions costs more than one study's run, and doubles the memory.
        let mut provider = CUDA::default()
            .with_device_id(i32::from(number))
            .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested);
        if self.memory > 0 {
            provider = provider.with_memory_limit(self.memory);
        }
        provider.build().error_on_failure()
    }

    fn tensorrt(&self, number: u16) -> ExecutionProviderDispatch {
        let mut provider = TensorRT::default().with_device_id(i32::from(number));
        if self.memory > 0 {
            provider = provider.with_max_workspace_size(self.memory);
        }
        if let Some(cache) = &self.cache {
            provider = provider
                .with_engine_cache(true)
                .with_engine_cache_path(cache.display())
                .with_timing_cache(true)
                .with_timing_cache_path(cache.display());
        }
        provider.build().error_on_failure()
    }
}

/// Whether ONNX Runtime says that memory of the device ran out: cuDNN's and CUDA's allocation errors, and those of
/// its own arena (`bfc_arena.cc`).
pub(crate) fn out_of_memory(reason: &str) -> bool {
    const SAID: [&str; 5] = [
        "Failed to allocate memory",
        "smaller than requested bytes",
        "out of memory",
        "CUDA_ERROR_OUT_OF_MEMORY",
        "CUDNN_STATUS_ALLOC_FAILED",
    ];
    SAID.iter().any(|words| reason.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_as_they_are_shown() {
        for provider in [Provider::Cpu, Provider::OpenVino, Provider::Cuda(3), Provider::TensorRt(0)] {
            assert_eq!(provider.to_string().parse(), Ok(provider));
        }
        assert_eq!("cuda".parse(), Ok(Provider::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:1", "openvino:0", "CUDA:0", "tensorrt:70000"] {
            assert!(wrong.parse::<Provider>().is_err(), "{wrong}");
        }
    }
    #[test]
    fn too_little_memory_is_told_from_other_failures() {
        for said in [
            "Available memory of 1048576 is smaller than requested bytes of 16777216",
            "bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 56623104",
            "CUDA failure 2: out of memory ; GPU=0 ; hostname=a ; expr=cudaMalloc((void**)&p, size);",
            "CUDNN failure 4000: CUDNN_STATUS_ALLOC_FAILED ; GPU=0",
        ] {
            assert!(out_of_memory(said), "{said}");
        }
        for said in ["CUDA failure 100: no CUDA-capable device is detected", "CUDNN_STATUS_NOT_SUPPORTED", ""] {
            assert!(!out_of_memory(said), "{said}");
        }
    }
}
