@rem What conda's own does for the lab: `conda activate PREFIX`, everything else by conda.exe.
@if "%~1"=="activate" goto activate
@"%~dp0..\Scripts\conda.exe" %*
@exit /b %errorlevel%

:activate
@set "CONDA_PREFIX=%~2"
@for %%n in ("%~2") do @set "CONDA_DEFAULT_ENV=%%~nxn"
@set "CONDA_SHLVL=1"
@set "PATH=%~2;%~2\Library\mingw-w64\bin;%~2\Library\usr\bin;%~2\Library\bin;%~2\Scripts;%~2\bin;%PATH%"
@set "_HOOKS=%~2\etc\conda\activate.d"
@if not exist "%_HOOKS%\*.bat" exit /b 0
@for /f "delims=" %%f in ('dir /b /on "%_HOOKS%\*.bat"') do @call "%_HOOKS%\%%f" || exit /b 1
