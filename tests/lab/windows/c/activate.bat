@rem As conda's own: what users who never ran `conda init` call, with the environment's path.
@call "%~dp0..\condabin\conda.bat" activate %*
