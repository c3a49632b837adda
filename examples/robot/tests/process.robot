*** Test Cases ***
Ends Its Process
    Evaluate    os._exit(3)    modules=os

Is Its Neighbour
    Should Be True    ${{os.getpid()}} > 0
