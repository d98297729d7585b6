"""Aligns two heads with SimpleITK as its users do: Euler3D, Mattes mutual information, three resolutions.

usage: register.py FIXED MOVING
Prints JSON: rows of the rotation and the shift in mm that take LPS points of FIXED to MOVING, and the seconds taken.
"""

import json
import sys
import time

import SimpleITK as sitk

fixed, moving = (sitk.ReadImage(path, sitk.sitkFloat32) for path in sys.argv[1:3])
begun = time.perf_counter()
start = sitk.CenteredTransformInitializer(
    fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
)
method = sitk.ImageRegistrationMethod()
method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=50)
method.SetMetricSamplingStrategy(method.RANDOM)
method.SetMetricSamplingPercentage(0.1, seed=1)
method.SetInterpolator(sitk.sitkLinear)
method.SetOptimizerAsRegularStepGradientDescent(
    learningRate=2.0, minStep=1e-4, numberOfIterations=200, relaxationFactor=0.5
)
method.SetOptimizerScalesFromPhysicalShift()
method.SetShrinkFactorsPerLevel([4, 2, 1])
method.SetSmoothingSigmasPerLevel([2, 1, 0])
method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
method.SetInitialTransform(start, inPlace=False)
found = method.Execute(fixed, moving)
seconds = time.perf_counter() - begun
origin = found.TransformPoint((0.0, 0.0, 0.0))
columns = [found.TransformPoint(tuple(float(i == axis) for i in range(3))) for axis in range(3)]
rotation = [[columns[axis][row] - origin[row] for axis in range(3)] for row in range(3)]
print(json.dumps({"rotation": rotation, "shift": origin, "seconds": seconds}))
